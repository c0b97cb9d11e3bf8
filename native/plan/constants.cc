#include "plan/constants.h"

#include <cstring>
#include <string>
#include <utility>

#include "formats/gap.h"

namespace featherweight {
namespace {

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
  std::vector<std::int64_t> out(static_cast<std::size_t>(nonzeros_));
  const GapClaim claim{static_cast<std::uint64_t>(elements_), static_cast<std::uint64_t>(nonzeros_)};
  const GapStatus status = gap_positions({gaps_.data, gaps_.size}, claim, out.data());
  if (status != GapStatus::kOk) return {Code::kFile, std::string("its gaps are not valid: ") + text_of(status)};
  return {};
}

std::vector<std::int64_t> Constant::positions() const {
  std::vector<std::int64_t> out;
  out.reserve(static_cast<std::size_t>(nonzeros_));
  if (storage_ == Storage::kSparse) {
    out.resize(static_cast<std::size_t>(nonzeros_));
    const GapClaim claim{static_cast<std::uint64_t>(elements_), static_cast<std::uint64_t>(nonzeros_)};
    (void)gap_positions({gaps_.data, gaps_.size}, claim, out.data());  // bind_sparse saw that it is well formed
    return out;
  }
  for (std::int64_t i = 0; i < elements_; ++i)
    if (float_at(values_, static_cast<std::size_t>(i)) != 0.0f) out.push_back(i);
  return out;
}

AlignedVector<float> Constant::dense() const {
  AlignedVector<float> out(static_cast<std::size_t>(elements_));
  if (storage_ == Storage::kDense) {
    if (elements_ != 0) std::memcpy(out.data(), values_.data, out.size() * sizeof(float));
    return out;
  }
  const std::vector<std::int64_t> where = positions();
  for (std::size_t i = 0; i < where.size(); ++i) out[static_cast<std::size_t>(where[i])] = float_at(values_, i);
  return out;
}

DenseMatrix Constant::dense_matrix() const {
  DenseMatrix out;
  out.rows = static_cast<int>(shape_[0]);
  out.width = static_cast<int>(elements_ / shape_[0]);
  if (storage_ == Storage::kDense && reinterpret_cast<std::uintptr_t>(values_.data) % alignof(float) == 0) {
    out.values = reinterpret_cast<const float*>(values_.data);
    return out;
  }
  out.decoded = dense();
  out.values = out.decoded.data();
  return out;
}

SparseMatrix Constant::sparse_matrix() const {
  const std::int64_t width = elements_ / shape_[0];
  const std::vector<std::int64_t> where = positions();
  SparseMatrix out;
  out.width = static_cast<int>(width);
  out.values.reserve(where.size());
  out.columns.reserve(where.size());
  out.starts.assign(static_cast<std::size_t>(shape_[0]) + 1, 0);
  for (std::size_t i = 0; i < where.size(); ++i) {
    out.values.push_back(float_at(values_, storage_ == Storage::kSparse ? i : static_cast<std::size_t>(where[i])));
    out.columns.push_back(static_cast<std::int32_t>(where[i] % width));
    ++out.starts[static_cast<std::size_t>(where[i] / width) + 1];
  }
  for (std::size_t row = 1; row < out.starts.size(); ++row) out.starts[row] += out.starts[row - 1];
  return out;
}

Result<std::vector<Constant>> bind_constants(const Graph& graph, const File& file) {
  std::vector<Constant> constants;
  constants.reserve(graph.constants.size());
  for (const ConstantInfo& info : graph.constants) {
    auto constant = Constant::bind(info, file);
    if (!constant.ok()) return constant.status().within("constant " + quoted(info.name));
    constants.push_back(std::move(constant).value());
  }
  return constants;
}

}  // namespace featherweight
