#include "kernels/plain/nest.h"

#include <algorithm>
#include <cstring>

namespace featherweight::plain {
namespace {

constexpr std::int64_t kTile = 16;  // a cache line of floats

void copy_rows(const float* in, const Nest<1>& nest, float* out, Part part) noexcept {
  const std::int64_t step = nest.strides[0].of[nest.shape.rank - 1];
  const Range range = share(nest.shape.size(), part);
  for_rows(nest, range, [&](std::int64_t position, const std::int64_t* offsets, std::int64_t count) {
    const float* from = in + offsets[0];
    float* to = out + position;
    if (step == 1) {
      std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
    } else {
      for (std::int64_t i = 0; i < count; ++i) to[i] = from[i * step];
    }
  });
}

// The axis that the input has innermost, where the output has another; -1: none.
int crossed_axis(const Nest<1>& nest) noexcept {
  const int last = nest.shape.rank - 1;
  if (nest.strides[0].of[last] == 1) return -1;
  for (int axis = 0; axis < last; ++axis)
    if (nest.strides[0].of[axis] == 1) return axis;
  return -1;
}

struct Square {
  std::int64_t rows, columns;  // at most kTile
  std::int64_t in_column, out_row;
};

void transpose_square(const float* in, float* out, const Square& square) noexcept {
  for (std::int64_t r = 0; r < square.rows; ++r)
    for (std::int64_t c = 0; c < square.columns; ++c) out[r * square.out_row + c] = in[r + c * square.in_column];
}

// Tile by tile, so that a cache line is used as a whole on both sides.
void copy_crossed(const float* in, const Nest<1>& nest, int axis, float* out, Part part) noexcept {
  const int last = nest.shape.rank - 1;
  const std::int64_t in_column = nest.strides[0].of[last];
  const Strides out_strides = row_major(nest.shape);
  Nest<2> outer{nest.shape, {nest.strides[0], out_strides}};  // over tiles, and over all other axes
  const std::int64_t rows = nest.shape.dims[axis], columns = nest.shape.dims[last];
  for (int side : {axis, last}) {
    outer.shape.dims[side] = (outer.shape.dims[side] + kTile - 1) / kTile;
    for (auto& strides : outer.strides) strides.of[side] *= kTile;
  }
  const Range tiles = share(outer.shape.size(), part);
  if (tiles.first >= tiles.last) return;
  Odometer<2> at(outer, tiles.first);
  for (std::int64_t i = tiles.first; i < tiles.last; ++i, at.advance(last, 1)) {
    const Square square{std::min(kTile, rows - at.index(axis) * kTile),
                        std::min(kTile, columns - at.index(last) * kTile), in_column, out_strides.of[axis]};
    transpose_square(in + at.offsets()[0], out + at.offsets()[1], square);
  }
}

}  // namespace

void copy_nest(const float* in, Nest<1> nest, float* out, Part part) noexcept {
  nest.collapse();
  const int axis = crossed_axis(nest);
  if (axis < 0) {
    copy_rows(in, nest, out, part);
  } else {
    copy_crossed(in, nest, axis, out, part);
  }
}

}  // namespace featherweight::plain
