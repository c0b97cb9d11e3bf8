// What only moves numbers: concat, slice, transpose, depth_to_space, pad.
#include <algorithm>
#include <cstring>

#include "kernels/plain/nest.h"
#include "kernels/plain/plain.h"

namespace featherweight::plain {

void concat(const Concat& work, Part part) noexcept {
  const std::int64_t inner = work.out_shape.size(work.axis + 1, work.out_shape.rank);
  const std::int64_t piece = work.size * inner, pitch = work.out_shape.dims[work.axis] * inner;
  float* out = work.out + work.first * inner;
  const Range range = share(work.out_shape.size(0, work.axis) * piece, part);
  for (std::int64_t i = range.first; i < range.last;) {
    const std::int64_t outer = i / piece, inside = i % piece;
    const std::int64_t count = std::min(piece - inside, range.last - i);
    std::memcpy(out + outer * pitch + inside, work.in + i, static_cast<std::size_t>(count) * sizeof(float));
    i += count;
  }
}

SliceAxis slice_axis(std::int64_t size, std::int64_t start, std::int64_t end, std::int64_t step) noexcept {
  // ONNX counts negative ends from the end and clamps both into the axis; the largest numbers mean "to the end".
  if (start < 0) start += size;
  if (end < 0) end += size;
  if (step > 0) {
    start = std::clamp<std::int64_t>(start, 0, size);
    end = std::clamp<std::int64_t>(end, 0, size);
    return {start, step, end > start ? (end - start - 1) / step + 1 : 0};
  }
  start = std::clamp<std::int64_t>(start, -1, size - 1);
  end = std::clamp<std::int64_t>(end, -1, size - 1);
  const std::int64_t back = step == INT64_MIN ? INT64_MAX : -step;
  return {start, step, start > end ? (start - end - 1) / back + 1 : 0};
}

void slice(const Slice& work, Part part) noexcept {
  const Strides strides = row_major(work.in_shape);
  Nest<1> nest;
  nest.shape.rank = work.in_shape.rank;
  const float* first = work.in;
  for (int axis = 0; axis < work.in_shape.rank; ++axis) {
    const SliceAxis& cut = work.axes[axis];
    if (cut.count == 0) return;
    nest.shape.dims[axis] = cut.count;
    nest.strides[0].of[axis] = cut.count == 1 ? 0 : cut.step * strides.of[axis];
    first += cut.start * strides.of[axis];
  }
  copy_nest(first, nest, work.out, part);
}

void transpose(const Transpose& work, Part part) noexcept {
  const Strides strides = row_major(work.in_shape);
  Nest<1> nest;
  nest.shape.rank = work.in_shape.rank;
  for (int axis = 0; axis < work.in_shape.rank; ++axis) {
    nest.shape.dims[axis] = work.in_shape.dims[work.permutation[axis]];
    nest.strides[0].of[axis] = strides.of[work.permutation[axis]];
  }
  copy_nest(work.in, nest, work.out, part);
}

// Both modes are a transposition to (N, C / block^2, H, block rows, W, block columns); the channel of the input is
// (block row, block column, channel) for DCR and (channel, block row, block column) for CRD.
void depth_to_space(const DepthToSpace& work, Part part) noexcept {
  const std::int64_t block = work.block, channels = work.in_shape.dims[1] / (block * block);
  const std::int64_t height = work.in_shape.dims[2], width = work.in_shape.dims[3], plane = height * width;
  const bool dcr = work.mode == DepthToSpaceMode::kDcr;
  const std::int64_t column = dcr ? channels * plane : plane;
  const Nest<1> nest{{6, {work.in_shape.dims[0], channels, height, block, width, block}},
                     {{{channels * block * block * plane, dcr ? plane : block * block * plane, width, block * column, 1,
                        column}}}};
  copy_nest(work.in, nest, work.out, part);
}

namespace {

// Which element of the input is at index i, counted from the input's first; -1: none.
std::int64_t padded_index(PadMode mode, std::int64_t i, std::int64_t size) noexcept {
  if (i >= 0 && i < size) return i;
  switch (mode) {
    case PadMode::kConstant: return -1;
    case PadMode::kEdge: return i < 0 ? 0 : size - 1;
    case PadMode::kReflect: {
      const std::int64_t period = std::max<std::int64_t>(1, 2 * (size - 1));
      const std::int64_t rest = (i % period + period) % period;
      return rest < size ? rest : period - rest;
    }
  }
  return -1;
}

// One row along the last axis; in: null where the whole row is padding.
void pad_row(const Pad& work, const float* in, float* out) noexcept {
  const int last = work.out_shape.rank - 1;
  const std::int64_t size = work.in_shape.dims[last], width = work.out_shape.dims[last], before = work.before[last];
  if (in == nullptr) {
    std::fill_n(out, width, work.value);
    return;
  }
  const std::int64_t begin = std::clamp<std::int64_t>(before, 0, width);
  const std::int64_t end = std::clamp<std::int64_t>(before + size, begin, width);
  const auto outside = [&](std::int64_t x) {
    const std::int64_t from = padded_index(work.mode, x - before, size);
    return from < 0 ? work.value : in[from];
  };
  for (std::int64_t x = 0; x < begin; ++x) out[x] = outside(x);
  std::copy(in + (begin - before), in + (end - before), out + begin);
  for (std::int64_t x = end; x < width; ++x) out[x] = outside(x);
}

}  // namespace

void pad(const Pad& work, Part part) noexcept {
  const int last = work.out_shape.rank - 1;
  const Strides strides = row_major(work.in_shape);
  const Range rows = share(work.out_shape.size(0, last), part);
  for (std::int64_t row = rows.first; row < rows.last; ++row) {
    const float* in = work.in;
    std::int64_t rest = row;
    for (int axis = last - 1; axis >= 0; --axis) {
      const std::int64_t index = rest % work.out_shape.dims[axis] - work.before[axis];
      rest /= work.out_shape.dims[axis];
      const std::int64_t from = padded_index(work.mode, index, work.in_shape.dims[axis]);
      in = from < 0 || in == nullptr ? nullptr : in + from * strides.of[axis];
    }
    pad_row(work, in, work.out + row * work.out_shape.dims[last]);
  }
}

}  // namespace featherweight::plain
