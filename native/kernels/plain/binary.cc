#include <algorithm>

#include "kernels/plain/finish.h"
#include "kernels/plain/nest.h"
#include "kernels/plain/plain.h"

namespace featherweight::plain {
namespace {

// Along each axis of `out` (aligned at the last one), 0 where `shape` is broadcast.
Strides broadcast_strides(const Shape& shape, const Shape& out) noexcept {
  const Strides own = row_major(shape);
  Strides strides;
  const int missing = out.rank - shape.rank;
  for (int axis = 0; axis < shape.rank; ++axis)
    strides.of[axis + missing] = shape.dims[axis] == 1 ? 0 : own.of[axis];
  return strides;
}

struct Row {
  const float* a;
  std::int64_t a_step;
  const float* b;
  std::int64_t b_step;
  float* out;
  std::int64_t size;
};

// The steps that matter are constants to the compiler, so that it makes vectors of them.
template <class Compute>
void compute_row(const Row& row, Compute compute) noexcept {
  if (row.a_step == 1 && row.b_step == 1) {
    for (std::int64_t i = 0; i < row.size; ++i) row.out[i] = compute(row.a[i], row.b[i]);
  } else if (row.a_step == 1 && row.b_step == 0) {
    const float b = *row.b;
    for (std::int64_t i = 0; i < row.size; ++i) row.out[i] = compute(row.a[i], b);
  } else if (row.a_step == 0 && row.b_step == 1) {
    const float a = *row.a;
    for (std::int64_t i = 0; i < row.size; ++i) row.out[i] = compute(a, row.b[i]);
  } else {
    for (std::int64_t i = 0; i < row.size; ++i) row.out[i] = compute(row.a[i * row.a_step], row.b[i * row.b_step]);
  }
}

template <class Compute>
void compute_range(const Binary& work, const Nest<2>& nest, Range range, Compute compute) noexcept {
  const int last = nest.shape.rank - 1;
  for_rows(nest, range, [&](std::int64_t position, const std::int64_t* offsets, std::int64_t count) {
    const Row row{work.a + offsets[0], nest.strides[0].of[last], work.b + offsets[1], nest.strides[1].of[last],
                  work.out + position, count};
    compute_row(row, compute);
  });
}

void compute_range(const Binary& work, const Nest<2>& nest, Range range) noexcept {
  switch (work.kind) {
    case BinaryKind::kAdd: return compute_range(work, nest, range, [](float a, float b) { return a + b; });
    case BinaryKind::kSub: return compute_range(work, nest, range, [](float a, float b) { return a - b; });
    case BinaryKind::kMul: return compute_range(work, nest, range, [](float a, float b) { return a * b; });
    case BinaryKind::kDiv: return compute_range(work, nest, range, [](float a, float b) { return a / b; });
  }
}

}  // namespace

void binary(const Binary& work, Part part) noexcept {
  Nest<2> nest{work.out_shape,
               {broadcast_strides(work.a_shape, work.out_shape), broadcast_strides(work.b_shape, work.out_shape)}};
  nest.collapse();
  const Range range = share(work.out_shape.size(), part);
  for (std::int64_t i = range.first; i < range.last; i += kFinishBlock) {
    const Range block{i, std::min(range.last, i + kFinishBlock)};
    compute_range(work, nest, block);
    finish(work.finish, work.out + block.first, block.last - block.first);
  }
}

void affine(const Affine& work, Part part) noexcept {
  const Range planes = share(work.batch * work.channels, part);
  for (std::int64_t plane = planes.first; plane < planes.last; ++plane) {
    const std::int64_t channel = plane % work.channels;
    const float scale = work.scale != nullptr ? work.scale[channel] : 1.0f;
    const float shift = work.shift != nullptr ? work.shift[channel] : 0.0f;
    const float* in = work.in + plane * work.inner;
    float* out = work.out + plane * work.inner;
    for (std::int64_t i = 0; i < work.inner; ++i) out[i] = in[i] * scale + shift;
    finish(work.finish, out, work.inner);
  }
}

}  // namespace featherweight::plain
