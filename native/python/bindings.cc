// The Python face of the native library: converts arguments and statuses, and does nothing else.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include "base/cpu_features.h"
#include "formats/gap.h"
#include "python/session.h"

namespace nb = nanobind;
namespace fw = featherweight;

namespace {

using Bytes = nb::ndarray<const std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using MutableBytes = nb::ndarray<std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using MutablePositions = nb::ndarray<std::int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

fw::GapStream stream_of(const Bytes& bytes) { return {bytes.data(), bytes.size()}; }

int gap_positions(Bytes gaps, std::uint64_t elements, MutablePositions out) {
  const fw::GapClaim claim{elements, out.size()};
  nb::gil_scoped_release release;
  return static_cast<int>(fw::gap_positions(stream_of(gaps), claim, out.data()));
}

int gap_scatter(Bytes gaps, Bytes values, std::size_t width, MutableBytes out) {
  if (width == 0 || values.size() % width != 0 || out.size() % width != 0)
    throw nb::value_error("values and out must be a whole number of elements of `width` bytes");
  const fw::GapClaim claim{out.size() / width, values.size() / width};
  nb::gil_scoped_release release;
  return static_cast<int>(fw::gap_scatter(stream_of(gaps), claim, values.data(), width, out.data()));
}

nb::dict cpu_features() {
  const fw::CpuFeatures features = fw::detect_cpu_features();
  nb::dict table;
  for (const fw::CpuFeatureName& row : fw::kCpuFeatureNames) table[row.name] = features.*row.flag;
  return table;
}

}  // namespace

NB_MODULE(_native, module) {
  module.doc() = "Native parts of featherweight: CPU features, the gap codec's decode loop, and the sparse runtime.";
  module.def("cpu_features", &cpu_features, "What may be executed on this machine: name to flag.");
  // noconvert: a converted copy of `out` would be filled and thrown away.
  module.def("gap_positions", &gap_positions, nb::arg("gaps").noconvert(), nb::arg("elements"),
             nb::arg("out").noconvert(),
             "Decode gaps into out (nonzeros,); returns a status, 0 is well formed.");
  module.def("gap_scatter", &gap_scatter, nb::arg("gaps").noconvert(), nb::arg("values").noconvert(),
             nb::arg("width"), nb::arg("out").noconvert(),
             "Put values of width bytes at the decoded positions of out; returns a status, 0 is well formed.");
  bind_session(module);
}
