// Sizes of row-major arrays.
#pragma once

#include <cstdint>

namespace featherweight::plain {

inline constexpr int kMaxRank = 8;

struct Shape {
  int rank = 0;
  std::int64_t dims[kMaxRank] = {};

  // Of the axes first .. last-1; 1 where there are none.
  std::int64_t size(int first, int last) const noexcept {
    std::int64_t product = 1;
    for (int axis = first; axis < last; ++axis) product *= dims[axis];
    return product;
  }
  std::int64_t size() const noexcept { return size(0, rank); }
};

struct Strides {
  std::int64_t of[kMaxRank] = {};
};

inline Strides row_major(const Shape& shape) noexcept {
  Strides strides;
  std::int64_t stride = 1;
  for (int axis = shape.rank - 1; axis >= 0; --axis) {
    strides.of[axis] = stride;
    stride *= shape.dims[axis];
  }
  return strides;
}

}  // namespace featherweight::plain
