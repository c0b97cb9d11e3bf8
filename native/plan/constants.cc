#include "plan/constants.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <unordered_set>
#include <utility>

#include "formats/gap.h"

namespace featherweight {
namespace {

// As featherweight.runtime.fwfile.
constexpr std::uint64_t kLeastLimit = std::uint64_t{256} << 20, kMostRatio = 1024;

Result<const FileTensor*> tensor_named(const File& file, const std::string& name, Dtype dtype,
                                       const char* expected) {
  const auto found = file.tensors.find(name);
  if (found == file.tensors.end()) return Status(Code::kFile, "there is no tensor " + quoted(name));
  if (found->second.dtype != dtype)
    return Status(Code::kFile, "tensor " + quoted(name) + " should be " + expected + ", got " +
                                   info_of(found->second.dtype).safetensors);
  return &found->second;
}

const char* text_of(GapStatus status) noexcept {
  switch (status) {
    case GapStatus::kOutOfRange: return "a position beyond the last element";
    case GapStatus::kTooManyValues: return "more positions than values";
    case GapStatus::kTooFewValues: return "fewer positions than values";
    default: return "a skip that no value follows";
  }
}

float float_at(Bytes bytes, std::size_t index) noexcept {
  float value;
  std::memcpy(&value, bytes.data + index * sizeof value, sizeof value);
  return value;
}

}  // namespace

Result<Constant> Constant::bind(const ConstantInfo& info, const File& file) {
  Constant out;
  out.shape_ = info.shape;
  out.storage_ = info.storage;
  const auto elements = elements_of(info.shape);
  if (!elements) return Status(Code::kFile, "too many elements: " + featherweight::text_of(info.shape));
  out.elements_ = *elements;
  if (info.storage == Storage::kDense) {
    FW_ASSIGN(tensor, tensor_named(file, info.name, Dtype::kFloat32, "F32"));
    FW_TRY(out.bind_dense(*tensor));
    return out;
  }
  FW_ASSIGN(values, tensor_named(file, info.name + ".values", Dtype::kFloat32, "F32"));
  FW_ASSIGN(gaps, tensor_named(file, info.name + ".gaps", Dtype::kUint8, "U8"));
  FW_TRY(out.bind_sparse(*values, *gaps));
  return out;
}

Status Constant::bind_dense(const FileTensor& tensor) {
  if (tensor.shape != shape_)
    return {Code::kFile, "its tensor should have the shape " + featherweight::text_of(shape_) + ", got " +
                             featherweight::text_of(tensor.shape)};
  values_ = tensor.bytes;
  for (std::int64_t i = 0; i < elements_; ++i) nonzeros_ += float_at(values_, static_cast<std::size_t>(i)) != 0.0f;
  return {};
}

Status Constant::bind_sparse(const FileTensor& values, const FileTensor& gaps) {
  if (values.shape.size() != 1 || gaps.shape.size() != 1)
    return {Code::kFile, "its values and gaps should have one axis, got " + featherweight::text_of(values.shape) +
                             " and " + featherweight::text_of(gaps.shape)};
  values_ = values.bytes;
  gaps_ = gaps.bytes;
  nonzeros_ = values.shape[0];
  if (nonzeros_ > elements_ || static_cast<std::uint64_t>(nonzeros_) > gaps_.size)
    return {Code::kFile, std::to_string(nonzeros_) + " values, for " + std::to_string(elements_) +
                             " elements and " + std::to_string(gaps_.size) + " gaps"};
  const GapClaim claim{static_cast<std::uint64_t>(elements_), static_cast<std::uint64_t>(nonzeros_)};
  const GapStatus status = gap_walk({gaps_.data, gaps_.size}, claim, [](std::uint64_t, std::uint64_t) {});
  if (status != GapStatus::kOk) return {Code::kFile, std::string("its gaps are not valid: ") + text_of(status)};
  return {};
}

template <class Visit>
void Constant::each_nonzero(Visit visit) const {
  if (storage_ == Storage::kSparse) {
    const GapClaim claim{static_cast<std::uint64_t>(elements_), static_cast<std::uint64_t>(nonzeros_)};
    (void)gap_walk({gaps_.data, gaps_.size}, claim, [&](std::uint64_t index, std::uint64_t position) {
      visit(static_cast<std::size_t>(index), static_cast<std::int64_t>(position));
    });  // bind_sparse saw that it is well formed
    return;
  }
  std::size_t index = 0;
  for (std::int64_t i = 0; i < elements_; ++i)
    if (float_at(values_, static_cast<std::size_t>(i)) != 0.0f) visit(index++, i);
}

// Null where they are not aligned.
const float* Constant::floats_in_file() const noexcept {
  const bool aligned = reinterpret_cast<std::uintptr_t>(values_.data) % alignof(float) == 0;
  return aligned ? reinterpret_cast<const float*>(values_.data) : nullptr;
}

AlignedVector<float> Constant::dense() const {
  AlignedVector<float> out(static_cast<std::size_t>(elements_));
  if (storage_ == Storage::kSparse)
    each_nonzero([&](std::size_t i, std::int64_t at) { out[static_cast<std::size_t>(at)] = float_at(values_, i); });
  else if (elements_ != 0)
    std::memcpy(out.data(), values_.data, out.size() * sizeof(float));
  return out;
}

DenseMatrix Constant::dense_matrix() const {
  DenseMatrix out;
  out.rows = static_cast<int>(shape_[0]);
  out.width = static_cast<int>(count(shape_, 1, shape_.size()));
  if (storage_ == Storage::kDense) out.values = floats_in_file();
  if (out.values != nullptr) return out;
  out.decoded = dense();
  out.values = out.decoded.data();
  return out;
}

SparseMatrix Constant::sparse_matrix() const {
  const std::int64_t width = elements_ / shape_[0];
  SparseMatrix out;
  out.width = static_cast<int>(width);
  out.columns.resize(static_cast<std::size_t>(nonzeros_));
  out.starts.assign(static_cast<std::size_t>(shape_[0]) + 1, nonzeros_);
  std::int64_t row = 0;
  out.starts[0] = 0;
  each_nonzero([&](std::size_t index, std::int64_t position) {
    for (; position >= (row + 1) * width; ++row)
      out.starts[static_cast<std::size_t>(row) + 1] = static_cast<std::int64_t>(index);
    out.columns[index] = static_cast<std::int32_t>(position - row * width);
  });
  if (storage_ == Storage::kSparse) out.values = floats_in_file();
  if (out.values != nullptr) return out;
  out.decoded.resize(static_cast<std::size_t>(nonzeros_));
  each_nonzero([&](std::size_t i, std::int64_t at) {
    out.decoded[i] = float_at(values_, storage_ == Storage::kSparse ? i : static_cast<std::size_t>(at));
  });
  out.values = out.decoded.data();
  return out;
}

// Zeros take no room in a file, but some kernels want them: a small file must not ask for all memory.
Status check_total(const std::vector<Constant>& constants, const File& file) {
  std::uint64_t total = 0;  // a few times 2^34 elements, as many as a header can name: no overflow
  for (const Constant& constant : constants) total += sizeof(float) * static_cast<std::uint64_t>(constant.elements());
  const std::uint64_t most = std::max<std::uint64_t>(kLeastLimit, kMostRatio * std::uint64_t{file.size});
  if (total <= most) return {};
  return {Code::kMemory, std::to_string(total) + " bytes of constants; the most is " + std::to_string(most)};
}

Status check_owners(const Graph& graph, const File& file) {
  std::unordered_set<std::string> owned;
  for (const ConstantInfo& info : graph.constants) {
    const bool is_sparse = info.storage == Storage::kSparse;
    owned.insert(is_sparse ? info.name + ".values" : info.name);
    if (is_sparse) owned.insert(info.name + ".gaps");
  }
  for (const auto& [name, tensor] : file.tensors)
    if (owned.count(name) == 0) return {Code::kFile, "tensor " + quoted(name) + " belongs to no constant"};
  return {};
}

Result<std::vector<Constant>> bind_constants(const Graph& graph, const File& file) {
  std::vector<Constant> constants;
  constants.reserve(graph.constants.size());
  for (const ConstantInfo& info : graph.constants) {
    auto constant = Constant::bind(info, file);
    if (!constant.ok()) return constant.status().within("constant " + quoted(info.name));
    constants.push_back(std::move(constant).value());
  }
  FW_TRY(check_total(constants, file));
  FW_TRY(check_owners(graph, file));
  return constants;
}

}  // namespace featherweight
