// Operations on plain arrays: row-major, as numpy's. Compiled once, for any processor.
//
// One struct an operation and one function, which does one part of the work (see Part in operations.h). Sizes are
// the planner's: nothing here checks them. No function allocates. Arrays of size 0 are allowed. An output does not
// overlap an input, except that of `binary` and `affine`, which may be the very same array as an input of its size.
#pragma once

#include "base/aligned.h"
#include "kernels/operations.h"
#include "kernels/plain/shape.h"

namespace featherweight::plain {

using UnaryKernel = void (*)(const featherweight::Unary&, Part) noexcept;
using MatMulKernel = void (*)(const featherweight::MatMul&, Part) noexcept;

// The activation at the end of an operation, and the kernel of the table that does it.
struct Finish {
  Activation activation;
  UnaryKernel unary = nullptr;  // needed where there is an activation
};

// out = act(a op b), with numpy's broadcasting to out_shape.
struct Binary {
  BinaryKind kind = BinaryKind::kAdd;
  const float* a = nullptr;
  const float* b = nullptr;
  Shape a_shape, b_shape;
  float* out = nullptr;
  Shape out_shape;
  Finish finish;
};
void binary(const Binary& work, Part part = {}) noexcept;

// out (N, C, ...) = act(in * scale + shift).
struct Affine {
  const float* in = nullptr;
  const float* scale = nullptr;  // (C); null: 1
  const float* shift = nullptr;  // (C); null: 0
  float* out = nullptr;
  std::int64_t batch = 0, channels = 0, inner = 1;
  Finish finish;
};
void affine(const Affine& work, Part part = {}) noexcept;

// One of the inputs of a concatenation, of `size` along the axis: call once for each.
struct Concat {
  const float* in = nullptr;
  std::int64_t first = 0, size = 0;  // in[..., i, ...] is out[..., first + i, ...]
  float* out = nullptr;
  Shape out_shape;
  int axis = 0;
};
void concat(const Concat& work, Part part = {}) noexcept;

// The elements of an axis that ONNX's start, end and step mean: start + i * step for i < count.
struct SliceAxis {
  std::int64_t start = 0, step = 1, count = 0;
};
SliceAxis slice_axis(std::int64_t size, std::int64_t start, std::int64_t end, std::int64_t step) noexcept;

struct Slice {
  const float* in = nullptr;
  Shape in_shape;
  SliceAxis axes[kMaxRank];  // of every axis of in_shape
  float* out = nullptr;
};
void slice(const Slice& work, Part part = {}) noexcept;

enum class PadMode : std::uint8_t { kConstant, kReflect, kEdge };
struct Pad {
  PadMode mode = PadMode::kConstant;
  float value = 0.0f;
  const float* in = nullptr;
  Shape in_shape;
  std::int64_t before[kMaxRank] = {};  // of every axis; negative: cut off
  float* out = nullptr;
  Shape out_shape;  // before + size + after
};
void pad(const Pad& work, Part part = {}) noexcept;

struct Transpose {
  const float* in = nullptr;
  Shape in_shape;
  int permutation[kMaxRank] = {};  // axis i of the output is axis permutation[i] of the input
  float* out = nullptr;
};
void transpose(const Transpose& work, Part part = {}) noexcept;

// (N, C, H, W) to (N, C / block^2, H * block, W * block).
enum class DepthToSpaceMode : std::uint8_t { kDcr, kCrd };
struct DepthToSpace {
  DepthToSpaceMode mode = DepthToSpaceMode::kDcr;
  std::int64_t block = 1;
  const float* in = nullptr;
  Shape in_shape;
  float* out = nullptr;
};
void depth_to_space(const DepthToSpace& work, Part part = {}) noexcept;

// Pictures of `planes` = N * C planes.
enum class ResizeMode : std::uint8_t { kNearest, kLinear };
enum class Coordinates : std::uint8_t { kAsymmetric, kHalfPixel, kAlignCorners, kPytorchHalfPixel };
enum class Rounding : std::uint8_t { kFloor, kCeil, kRoundPreferFloor, kRoundPreferCeil };
struct ResizeAxis {
  std::int64_t in = 0, out = 0;
  float scale = 1.0f;  // as given, or out / in where sizes are
};
struct Resize {
  ResizeMode mode = ResizeMode::kNearest;
  Coordinates coordinates = Coordinates::kHalfPixel;
  Rounding rounding = Rounding::kRoundPreferFloor;
  std::int64_t planes = 0;
  ResizeAxis height, width;
  const float* in = nullptr;
  float* out = nullptr;
};
void resize(const Resize& work, Part part = {}) noexcept;

// The output has size 1 along the reduced axes (or none: it is the same array).
struct ReduceMean {
  const float* in = nullptr;
  Shape in_shape;
  bool reduced[kMaxRank] = {};
  float* out = nullptr;
};
void reduce_mean(const ReduceMean& work, Part part = {}) noexcept;

// Over the middle axis of (outer, size, inner), with m its largest number: exp(in - m) / sum(exp(in - m)), or of that
// the logarithm, (in - m) - log(sum(exp(in - m))), which is finite where the quotient is 0.
struct Softmax {
  bool log = false;
  std::int64_t outer = 1, size = 0, inner = 1;
  const float* in = nullptr;
  float* out = nullptr;
  UnaryKernel unary = nullptr;  // needed
};
void softmax(const Softmax& work, Part part = {}) noexcept;

// (in - mean) / sqrt(variance + epsilon), over the middle axis of (outer, size, inner).
struct Normalize {
  std::int64_t outer = 1, size = 0, inner = 1;
  float epsilon = 0.0f;
  const float* in = nullptr;
  float* out = nullptr;
};
void normalize(const Normalize& work, Part part = {}) noexcept;

// Index of the first maximum along the middle axis of (outer, size, inner); of the first NaN, if there is one.
struct ArgMax {
  std::int64_t outer = 1, size = 0, inner = 1;
  const float* in = nullptr;
  std::int64_t* out = nullptr;  // (outer, inner)
};
void arg_max(const ArgMax& work, Part part = {}) noexcept;

// numpy's: the last two axes are matrices, the others broadcast; an array of one axis is a row (a) or a column (b).
struct MatMul {
  const float* a = nullptr;
  const float* b = nullptr;
  Shape a_shape, b_shape;
  float* out = nullptr;
  MatMulKernel kernel = nullptr;  // of the table; needed
};
void matmul(const MatMul& work, Part part = {}) noexcept;

// Sizes of a convolution or a pooling of (N, C, H, W).
struct Picture {
  std::int64_t channels = 0, height = 0, width = 0;
};
struct Conv {
  ConvShape conv;
  std::int64_t batch = 0;
  Picture in_size, out_size;
  const float* in = nullptr;
  const float* weight = nullptr;    // (M, C / groups, kernel_h, kernel_w)
  const float* bias = nullptr;      // (M); null: none
  const float* residual = nullptr;  // as out; null: none
  float* out = nullptr;
  Finish finish;
};
void conv(const Conv& work, Part part = {}) noexcept;

// The transposed convolution. conv.pad_top and pad_left are those of the convolution that it transposes; the pads at
// the other ends and output_pads only set out_size.
//
// Its weights are (C, M / groups, kernel_h, kernel_w). Packed they are (M * taps, C / groups), the rows padded to an
// odd number of cache lines.
struct PackedConvTranspose {
  std::int64_t row = 0;  // floats from one row to the next
  AlignedVector<float> values;
};
PackedConvTranspose pack_conv_transpose(const DenseWeights& weight, int groups);
struct ConvTranspose {
  ConvShape conv;
  std::int64_t batch = 0;
  Picture in_size, out_size;
  const PackedConvTranspose* packed = nullptr;
  const float* in = nullptr;
  const float* bias = nullptr;    // (M); null: none
  float* out = nullptr;
  MatMulKernel kernel = nullptr;  // of the table; needed
  Finish finish;
};
void conv_transpose(const ConvTranspose& work, Part part = {}) noexcept;

struct Pool {
  PoolKind kind = PoolKind::kMax;
  ConvShape window;           // groups has no meaning
  bool count_pads = false;    // average: divide by the whole window, padding included
  std::int64_t pad_bottom = 0, pad_right = 0;  // average with count_pads: the padded picture ends there
  std::int64_t batch = 0;
  Picture in_size, out_size;
  const float* in = nullptr;
  float* out = nullptr;
};
void pool(const Pool& work, Part part = {}) noexcept;

// (planes, inner) to (planes).
struct GlobalPool {
  PoolKind kind = PoolKind::kAverage;
  std::int64_t planes = 0, inner = 1;
  const float* in = nullptr;
  float* out = nullptr;
};
void global_pool(const GlobalPool& work, Part part = {}) noexcept;

enum class ElementType : std::uint8_t { kFloat32, kInt64, kInt32, kUint8, kBool };
// As numpy's astype; numbers that the output cannot hold become its nearest, NaN becomes 0.
struct Cast {
  const void* in = nullptr;
  ElementType in_type = ElementType::kFloat32;
  void* out = nullptr;
  ElementType out_type = ElementType::kFloat32;
  std::int64_t size = 0;
};
void cast(const Cast& work, Part part = {}) noexcept;

}  // namespace featherweight::plain
