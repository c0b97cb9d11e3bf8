// The operations on plain arrays by the book: one element at a time, at an index along each axis.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/elementwise/activation_naive.h"
#include "kernels/plain/plain.h"

namespace featherweight::plain::naive {

using Index = std::vector<std::int64_t>;

// Calls visit(position, index) for every element of an array.
template <class Visit>
void for_each_index(const Shape& shape, Visit visit) {
  Index index(static_cast<std::size_t>(shape.rank), 0);
  for (std::int64_t position = 0; position < shape.size(); ++position) {
    std::int64_t rest = position;
    for (int axis = shape.rank - 1; axis >= 0; --axis) {
      index[static_cast<std::size_t>(axis)] = rest % shape.dims[axis];
      rest /= shape.dims[axis];
    }
    visit(position, index);
  }
}

// Where the element is; axes of size 1 are broadcast, missing ones too.
inline std::int64_t position_of(const Shape& shape, const Index& index) {
  std::int64_t position = 0;
  const std::size_t missing = index.size() - static_cast<std::size_t>(shape.rank);
  for (int axis = 0; axis < shape.rank; ++axis) {
    const std::int64_t i = index[static_cast<std::size_t>(axis) + missing];
    position = position * shape.dims[axis] + (shape.dims[axis] == 1 ? 0 : i);
  }
  return position;
}

inline float act(const Finish& finish, double x) {
  return featherweight::naive::activate(finish.activation, static_cast<float>(x));
}

inline void binary(const Binary& work) {
  for_each_index(work.out_shape, [&](std::int64_t position, const Index& index) {
    const float a = work.a[position_of(work.a_shape, index)], b = work.b[position_of(work.b_shape, index)];
    const float results[] = {a + b, a - b, a * b, a / b};
    work.out[position] = act(work.finish, results[static_cast<int>(work.kind)]);
  });
}

inline void slice(const Slice& work, const Shape& out_shape) {
  for_each_index(out_shape, [&](std::int64_t position, Index index) {
    for (std::size_t axis = 0; axis < index.size(); ++axis)
      index[axis] = work.axes[axis].start + index[axis] * work.axes[axis].step;
    work.out[position] = work.in[position_of(work.in_shape, index)];
  });
}

inline void transpose(const Transpose& work, const Shape& out_shape) {
  for_each_index(out_shape, [&](std::int64_t position, const Index& index) {
    Index from(index.size());
    for (std::size_t axis = 0; axis < index.size(); ++axis)
      from[static_cast<std::size_t>(work.permutation[axis])] = index[axis];
    work.out[position] = work.in[position_of(work.in_shape, from)];
  });
}

inline void pad(const Pad& work) {
  for_each_index(work.out_shape, [&](std::int64_t position, Index index) {
    bool inside = true;
    for (int axis = 0; axis < work.out_shape.rank; ++axis) {
      std::int64_t& i = index[static_cast<std::size_t>(axis)];
      const std::int64_t size = work.in_shape.dims[axis];
      i -= work.before[axis];
      if (work.mode == PadMode::kConstant) inside = inside && i >= 0 && i < size;
      if (work.mode == PadMode::kEdge) i = std::clamp<std::int64_t>(i, 0, size - 1);
      if (work.mode == PadMode::kReflect)
        while (size > 1 && (i < 0 || i >= size)) i = i < 0 ? -i : 2 * (size - 1) - i;
      if (work.mode == PadMode::kReflect && size == 1) i = 0;
    }
    work.out[position] = inside ? work.in[position_of(work.in_shape, index)] : work.value;
  });
}

// c' = out channel: DCR reads (block row, block column, c'), CRD (c', block row, block column).
inline void depth_to_space(const DepthToSpace& work) {
  const std::int64_t b = work.block, channels = work.in_shape.dims[1] / (b * b);
  const Shape out{4, {work.in_shape.dims[0], channels, work.in_shape.dims[2] * b, work.in_shape.dims[3] * b}};
  for_each_index(out, [&](std::int64_t position, const Index& i) {
    const std::int64_t row = i[2] % b, column = i[3] % b;
    const std::int64_t channel = work.mode == DepthToSpaceMode::kDcr ? (row * b + column) * channels + i[1]
                                                                     : (i[1] * b + row) * b + column;
    work.out[position] = work.in[position_of(work.in_shape, {i[0], channel, i[2] / b, i[3] / b})];
  });
}

// In float32: which pixel is nearest depends on its rounding.
inline float resized_position(Coordinates coordinates, const ResizeAxis& axis, std::int64_t i) {
  const float x = static_cast<float>(i), half = (x + 0.5f) / axis.scale - 0.5f;
  switch (coordinates) {
    case Coordinates::kAsymmetric: return x / axis.scale;
    case Coordinates::kHalfPixel: return half;
    case Coordinates::kPytorchHalfPixel: return axis.out > 1 ? half : 0.0f;
    case Coordinates::kAlignCorners:
      return axis.out > 1 ? x * static_cast<float>(axis.in - 1) / static_cast<float>(axis.out - 1) : 0.0f;
  }
  return 0.0f;
}

// The weight of the input's pixel `from` in the output's pixel i.
inline double resize_weight(const Resize& work, const ResizeAxis& axis, std::int64_t i, std::int64_t from) {
  double x = resized_position(work.coordinates, axis, i);
  const double end = static_cast<double>(axis.in - 1), pixel = static_cast<double>(from);
  if (work.mode == ResizeMode::kNearest) {
    if (work.rounding == Rounding::kFloor) x = std::floor(x);
    if (work.rounding == Rounding::kCeil) x = std::ceil(x);
    if (work.rounding == Rounding::kRoundPreferFloor) x = std::ceil(x - 0.5);
    if (work.rounding == Rounding::kRoundPreferCeil) x = std::floor(x + 0.5);
    return std::clamp(x, 0.0, end) == pixel ? 1.0 : 0.0;
  }
  return std::max(0.0, 1.0 - std::fabs(std::clamp(x, 0.0, end) - pixel));
}

inline void resize(const Resize& work) {
  const Shape out{3, {work.planes, work.height.out, work.width.out}};
  for_each_index(out, [&](std::int64_t position, const Index& i) {
    double sum = 0.0;
    for (std::int64_t y = 0; y < work.height.in; ++y)
      for (std::int64_t x = 0; x < work.width.in; ++x)
        sum += work.in[(i[0] * work.height.in + y) * work.width.in + x] * resize_weight(work, work.height, i[1], y) *
               resize_weight(work, work.width, i[2], x);
    work.out[position] = static_cast<float>(sum);
  });
}

inline void reduce_mean(const ReduceMean& work) {
  Shape out = work.in_shape;
  for (int axis = 0; axis < out.rank; ++axis)
    if (work.reduced[axis]) out.dims[axis] = 1;
  std::vector<double> sums(static_cast<std::size_t>(out.size()), 0.0);
  for_each_index(work.in_shape, [&](std::int64_t position, const Index& index) {
    sums[static_cast<std::size_t>(position_of(out, index))] += work.in[position];
  });
  const double count = static_cast<double>(work.in_shape.size()) / static_cast<double>(out.size());
  for (std::size_t i = 0; i < sums.size(); ++i) work.out[i] = static_cast<float>(sums[i] / count);
}

inline void softmax(const Softmax& work) {
  for (std::int64_t i = 0; i < work.outer * work.inner; ++i) {
    const std::int64_t first = i / work.inner * work.size * work.inner + i % work.inner;
    double most = -INFINITY, sum = 0.0;
    for (std::int64_t k = 0; k < work.size; ++k) most = std::max<double>(most, work.in[first + k * work.inner]);
    for (std::int64_t k = 0; k < work.size; ++k) sum += std::exp(work.in[first + k * work.inner] - most);
    for (std::int64_t k = 0; k < work.size; ++k) {
      const double power = work.in[first + k * work.inner] - most;
      work.out[first + k * work.inner] = static_cast<float>(work.log ? power - std::log(sum) : std::exp(power) / sum);
    }
  }
}

inline void matmul(const MatMul& work, const Shape& out) {
  for_each_index(out, [&](std::int64_t position, const Index& index) {
    Index a = index, b = index;
    const std::int64_t depth = work.a_shape.dims[work.a_shape.rank - 1];
    double sum = 0.0;
    for (std::int64_t k = 0; k < depth; ++k) {
      a[index.size() - 1] = k;
      b[index.size() - 2] = k;
      // What broadcasts are the axes before; a depth, row or column of 1 is at index 0 anyway.
      sum += double{work.a[position_of(work.a_shape, a)]} * work.b[position_of(work.b_shape, b)];
    }
    work.out[position] = static_cast<float>(sum);
  });
}

// Calls tap(out position, in position, weight position): what the convolution multiplies and adds.
template <class Work, class Tap>
void for_each_tap(const Work& work, const Picture& wide, const Picture& narrow, Tap tap) {
  const ConvShape& c = work.conv;
  const std::int64_t wide_group = wide.channels / c.groups, narrow_group = narrow.channels / c.groups;
  const Shape all{5, {work.batch, narrow.channels, wide_group, narrow.height, narrow.width}};
  for_each_index(all, [&](std::int64_t, const Index& i) {
    const std::int64_t channel = i[1] / narrow_group * wide_group + i[2];
    for (int ky = 0; ky < c.kernel_h; ++ky)
      for (int kx = 0; kx < c.kernel_w; ++kx) {
        const std::int64_t y = i[3] * c.stride_h - c.pad_top + ky * c.dilation_h;
        const std::int64_t x = i[4] * c.stride_w - c.pad_left + kx * c.dilation_w;
        if (y < 0 || y >= wide.height || x < 0 || x >= wide.width) continue;
        tap(((i[0] * narrow.channels + i[1]) * narrow.height + i[3]) * narrow.width + i[4],
            ((i[0] * wide.channels + channel) * wide.height + y) * wide.width + x,
            ((i[1] * wide_group + i[2]) * c.kernel_h + ky) * c.kernel_w + kx);
      }
  });
}

template <class Work>
void finish(const Work& work, const float* residual, std::vector<double> sums) {
  const std::int64_t plane = work.out_size.height * work.out_size.width;
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const std::int64_t channel = static_cast<std::int64_t>(i) / plane % work.out_size.channels;
    if (work.bias != nullptr) sums[i] += work.bias[channel];
    if (residual != nullptr) sums[i] += residual[i];
    work.out[i] = act(work.finish, sums[i]);
  }
}

template <class Work>
std::vector<double> zeros(const Work& work) {
  return std::vector<double>(
      static_cast<std::size_t>(work.batch * work.out_size.channels * work.out_size.height * work.out_size.width), 0.0);
}

inline void conv(const Conv& work) {
  std::vector<double> sums = zeros(work);
  for_each_tap(work, work.in_size, work.out_size, [&](std::int64_t narrow, std::int64_t wide, std::int64_t weight) {
    sums[static_cast<std::size_t>(narrow)] += double{work.in[wide]} * work.weight[weight];
  });
  finish(work, work.residual, std::move(sums));
}

// The same taps, from the narrow picture to the wide one.
inline void conv_transpose(const ConvTranspose& work, const float* weights) {
  std::vector<double> sums = zeros(work);
  for_each_tap(work, work.out_size, work.in_size, [&](std::int64_t narrow, std::int64_t wide, std::int64_t weight) {
    sums[static_cast<std::size_t>(wide)] += double{work.in[narrow]} * weights[weight];
  });
  finish(work, nullptr, std::move(sums));
}

}  // namespace featherweight::plain::naive
