// Loops over arrays with strides: the one mechanism under broadcasting, slices, transposition and concatenation.
//
// A nest has the sizes of the (row-major) output and, for each of N inputs, the distance to its next element along
// each axis: 0 where the input is broadcast, negative where it is walked backwards.
#pragma once

#include "kernels/part.h"
#include "kernels/plain/shape.h"

namespace featherweight::plain {

template <int N>
struct Nest {
  Shape shape;
  Strides strides[N];

  // Joins neighbouring axes that all inputs walk as one, and drops axes of size 1, so that rows are long.
  // At least one axis is left.
  void collapse() noexcept;
};

template <int N>
void Nest<N>::collapse() noexcept {
  int kept = 0;
  for (int axis = 0; axis < shape.rank; ++axis) {
    if (shape.dims[axis] == 1) continue;
    bool joins = kept > 0;
    for (int i = 0; i < N && joins; ++i)
      joins = strides[i].of[kept - 1] == strides[i].of[axis] * shape.dims[axis];
    const int target = joins ? kept - 1 : kept++;
    shape.dims[target] = shape.dims[axis] * (joins ? shape.dims[target] : 1);
    for (int i = 0; i < N; ++i) strides[i].of[target] = strides[i].of[axis];
  }
  if (kept == 0) {
    shape.dims[0] = 1;
    for (int i = 0; i < N; ++i) strides[i].of[0] = 0;
    kept = 1;
  }
  shape.rank = kept;
}

// Where one is in a nest: an index along each axis, and the offset that it means in each input.
template <int N>
class Odometer {
 public:
  Odometer(const Nest<N>& nest, std::int64_t position) noexcept : nest_(nest) {
    for (int axis = nest.shape.rank - 1; axis >= 0; --axis) {
      index_[axis] = position % nest.shape.dims[axis];
      position /= nest.shape.dims[axis];
      for (int i = 0; i < N; ++i) offsets_[i] += index_[axis] * nest.strides[i].of[axis];
    }
  }
  const std::int64_t* offsets() const noexcept { return offsets_; }
  std::int64_t index(int axis) const noexcept { return index_[axis]; }

  // Steps along `axis`, and along those before it when it is at its end.
  void advance(int axis, std::int64_t count) noexcept {
    for (;; --axis, count = 1) {
      index_[axis] += count;
      for (int i = 0; i < N; ++i) offsets_[i] += count * nest_.strides[i].of[axis];
      if (index_[axis] < nest_.shape.dims[axis] || axis == 0) return;
      for (int i = 0; i < N; ++i) offsets_[i] -= index_[axis] * nest_.strides[i].of[axis];
      index_[axis] = 0;
    }
  }

 private:
  const Nest<N>& nest_;
  std::int64_t index_[kMaxRank] = {};
  std::int64_t offsets_[N] = {};
};

// Calls row(position in the output, offsets[N] in the inputs, count) for pieces of innermost rows that together are
// the elements of `range`, in order.
template <int N, class Row>
void for_rows(const Nest<N>& nest, Range range, const Row& row) noexcept {
  if (range.first >= range.last) return;
  const int last = nest.shape.rank - 1;
  Odometer<N> at(nest, range.first);
  for (std::int64_t position = range.first; position < range.last;) {
    const std::int64_t left = nest.shape.dims[last] - at.index(last);
    const std::int64_t count = left < range.last - position ? left : range.last - position;
    row(position, at.offsets(), count);
    position += count;
    at.advance(last, count);
  }
}

// out = the elements of `in` in the order of the nest.
void copy_nest(const float* in, Nest<1> nest, float* out, Part part) noexcept;

}  // namespace featherweight::plain
