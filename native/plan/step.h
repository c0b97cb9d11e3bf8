// What a plan does, one after the other: a kernel and its arguments, whose pointers are set when memory is.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "kernels/operations.h"

namespace featherweight {

struct StepInfo {
  int operation = -1;          // of the graph, that it is or serves
  const char* kernel = "";     // "sparse_conv", "fill_halo", ...
  std::int64_t macs = 0;       // as if nothing were zero
  std::int64_t macs_done = 0;  // of nonzero weights alone, where zeros are skipped
  double estimate = 0.0;       // nanoseconds on one thread
  int parts = 1;
};

class Step {
 public:
  virtual ~Step() = default;
  virtual void run(Part part) const noexcept = 0;
  StepInfo info;
};

template <class Arguments>
class KernelStep final : public Step {
 public:
  using Kernel = void (*)(const Arguments&, Part) noexcept;

  KernelStep(Kernel kernel, Arguments given) : args(std::move(given)), kernel_(kernel) {}
  void run(Part part) const noexcept override { kernel_(args, part); }

  Arguments args;
  std::shared_ptr<const void> owned;  // packed weights that args point to

 private:
  Kernel kernel_;
};

}  // namespace featherweight
