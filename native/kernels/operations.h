// What kernels are asked to do: one plain struct an operation, filled in once by the planner.
//
// Every kernel takes the struct and a Part: it does its share of the work, so that `count` calls with
// index 0 .. count-1, on any threads and in any order, do all of it. Shares do not depend on the count in a way
// that would change results: the same sums are done in the same order.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/lanes.h"

namespace featherweight {

struct Part {
  int index = 0, count = 1;
};

enum class ActivationKind : std::uint8_t {
  kNone, kRelu, kClip, kLeakyRelu, kSigmoid, kTanh, kHardSigmoid, kHardSwish, kSilu, kGelu, kGeluTanh,
  kExp, kSqrt, kAbs, kNeg, kErf, kElu, kSoftplus,
};

// f(x); a and b are its parameters in the order of docs/design/runtime.md (clip: min, max; hard_sigmoid: slope,
// offset; leaky_relu: slope; elu: alpha).
struct Activation {
  ActivationKind kind = ActivationKind::kNone;
  float a = 0.0f, b = 0.0f;
};

// What is done to the sums of a convolution or product before they are written: act(sum + bias + residual).
struct Epilogue {
  const float* bias = nullptr;  // (output channels); null: none
  ConstLaneView residual;       // of the output's sizes and tiles, maybe with another halo; null data: none
  Activation activation;
};

struct ConvShape {
  int groups = 1;
  int kernel_h = 1, kernel_w = 1;
  int stride_h = 1, stride_w = 1;
  int pad_top = 0, pad_left = 0;
  int dilation_h = 1, dilation_w = 1;
};

// A convolution in lanes. The input's tiles are `stride` times as large as the output's, over the same grid; its
// halo is filled and wide enough for every pixel of every output tile, overhanging ones included. The output's
// halo is not written.
struct ConvProblem {
  ConvShape conv;
  LaneShape in, out;
};

// The halo that a convolution or a pooling needs of its input.
Halo halo_for(const ConvShape& conv, int out_tile_h, int out_tile_w) noexcept;

// The weights of a convolution or product as they are in the file: (M, C/groups * kernel_h * kernel_w), row-major.
struct DenseWeights {
  const float* values = nullptr;
  int rows = 0, columns = 0;
};
// The same as nonzeros in row-major order: those of row m are starts[m] .. starts[m+1].
struct SparseWeights {
  const float* values = nullptr;
  const std::int32_t* columns = nullptr;
  const std::int64_t* starts = nullptr;  // rows + 1 of them
  int rows = 0, width = 0;
};

// How a convolution is blocked; 0: the kernel's own choice. Any value is allowed, and never changes results but
// for the order of sums (channels).
struct Blocks {
  int positions = 0;  // vectors of accumulators
  int channels = 0;   // input channels that are summed before the next block of them
};

// One struct a kernel; kernels.inc lists them.

// (N, C, H, W) into lanes; what overhangs and the halo are not written.
struct EnterLanes {
  const float* in = nullptr;
  LaneView out;
};
// And back.
struct LeaveLanes {
  ConstLaneView in;
  float* out = nullptr;
};
// Fills the halo from the neighbouring tiles. Beyond the picture, overhanging pixels included, is `beyond`.
struct FillHalo {
  LaneView map;
  float beyond = 0.0f;
};

struct PackedSparseConv;     // kernels/conv/sparse.h
struct PackedDenseConv;      // kernels/conv/dense.h
struct PackedDepthwiseConv;  // kernels/conv/depthwise.h
template <class Packed>
struct Convolution {
  const Packed* packed = nullptr;
  const float* in = nullptr;  // of packed->problem.in
  float* out = nullptr;       // of packed->problem.out
  Epilogue epilogue;
};
using SparseConv = Convolution<PackedSparseConv>;
using DenseConv = Convolution<PackedDenseConv>;
using DepthwiseConv = Convolution<PackedDepthwiseConv>;

enum class PoolKind : std::uint8_t { kMax, kAverage };

// As a convolution's: input tiles are `stride` times as large, the halo is filled: with minus infinity beyond the
// picture for a maximum, with zeros for an average.
struct Pool {
  PoolKind kind = PoolKind::kMax;
  ConvShape window;         // groups has no meaning
  bool count_pads = false;  // average: divide by the whole window, padding included
  int pad_bottom = 0, pad_right = 0;  // average with count_pads: the padded picture ends there
  ConstLaneView in;
  LaneView out;
};
struct GlobalPool {
  PoolKind kind = PoolKind::kAverage;
  ConstLaneView in;
  float* out = nullptr;  // (N, C)
};

struct LaneUnary {
  ConstLaneView in;
  LaneView out;
  Activation activation;
};
enum class BinaryKind : std::uint8_t { kAdd, kSub, kMul, kDiv };
struct LaneBinary {
  BinaryKind kind = BinaryKind::kAdd;
  ConstLaneView a, b;
  LaneView out;
  Activation activation;
};
// act(in * scale + shift), a number for each channel, or for each channel of each image.
struct LaneAffine {
  ConstLaneView in;
  const float* scale = nullptr;  // (C) or (N, C); null: 1
  const float* shift = nullptr;  // (C) or (N, C); null: 0
  bool by_image = false;
  LaneView out;
  Activation activation;
};
// Channels of one map into another: concatenation, slices, shuffles. Channel i of them goes to
// out_first + i % size * groups + i / size, where size = channels / groups.
struct LaneCopy {
  ConstLaneView in;
  int in_first = 0;
  LaneView out;
  int out_first = 0;
  int channels = 0;  // a multiple of groups
  int groups = 1;
};

// Of each pixel, over its channels: (in - mean) / sqrt(variance + epsilon).
struct LaneNormalize {
  ConstLaneView in;
  LaneView out;
  float epsilon = 0.0f;
};

struct PackedSparseLinear;  // kernels/linear/sparse.h
struct PackedDenseLinear;   // kernels/linear/dense.h
// out (B, M) = act(in (B, K) * weight (M, K) transposed + bias + residual)
template <class Packed>
struct Linear {
  const Packed* packed = nullptr;
  std::int64_t batch = 0;
  const float* in = nullptr;
  float* out = nullptr;
  const float* bias = nullptr;      // (M); null: none
  const float* residual = nullptr;  // (B, M); null: none
  Activation activation;
  float* scratch = nullptr;  // as large as the packed weights say for this batch and number of parts; aligned
};
using SparseLinear = Linear<PackedSparseLinear>;
using DenseLinear = Linear<PackedDenseLinear>;

// out (rows, columns) = a (rows, depth) * b (depth, columns); of all three the distances are in floats.
struct MatMul {
  const float* a = nullptr;
  std::ptrdiff_t a_row = 0, a_column = 1;
  const float* b = nullptr;
  std::ptrdiff_t b_row = 0, b_column = 1;
  float* out = nullptr;
  std::ptrdiff_t out_row = 0;
  std::int64_t rows = 0, depth = 0, columns = 0;
};

// Plain arrays, element by element.
struct Unary {
  const float* in = nullptr;
  float* out = nullptr;
  std::int64_t size = 0;
  Activation activation;
};

}  // namespace featherweight
