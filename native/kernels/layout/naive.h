// Lanes by the formula of kernels/lanes.h, one pixel at a time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/operations.h"

namespace featherweight::naive {

// Where pixel (n, c, y, x) is.
inline std::ptrdiff_t place(const LaneShape& s, int n, int c, int y, int x) {
  const int lane = (n / s.tile_n * s.grid_h + y / s.tile_h) * s.grid_w + x / s.tile_w;
  return n % s.tile_n * s.image_stride() + c * s.channel_stride() + s.offset(y % s.tile_h, x % s.tile_w) + lane;
}

template <class Visit>
void for_each_pixel(const LaneShape& s, Visit visit) {
  std::int64_t index = 0;
  for (int n = 0; n < s.batch; ++n)
    for (int c = 0; c < s.channels; ++c)
      for (int y = 0; y < s.height; ++y)
        for (int x = 0; x < s.width; ++x) visit(index++, place(s, n, c, y, x));
}

inline void enter_lanes(const EnterLanes& op) {
  for_each_pixel(*op.out.shape, [&](std::int64_t i, std::ptrdiff_t at) { op.out.data[at] = op.in[i]; });
}

inline void leave_lanes(const LeaveLanes& op) {
  for_each_pixel(*op.in.shape, [&](std::int64_t i, std::ptrdiff_t at) { op.out[i] = op.in.data[at]; });
}

// Each pixel of each tile, its halo included, as the picture has it.
inline void fill_halo(const FillHalo& op) {
  const LaneShape& s = *op.map.shape;
  for (int lane = 0; lane < s.lanes; ++lane)
    for (int image = 0; image < s.tile_n; ++image)
      for (int c = 0; c < s.channels; ++c)
        for (int row = -s.halo.top; row < s.tile_h + s.halo.bottom; ++row)
          for (int column = -s.halo.left; column < s.tile_w + s.halo.right; ++column) {
            const int n = lane / (s.grid_h * s.grid_w) * s.tile_n + image;
            const int y = lane / s.grid_w % s.grid_h * s.tile_h + row;
            const int x = lane % s.grid_w * s.tile_w + column;
            const bool inside = n < s.batch && y >= 0 && y < s.height && x >= 0 && x < s.width;
            const std::ptrdiff_t at = image * s.image_stride() + c * s.channel_stride() + s.offset(row, column) + lane;
            op.map.data[at] = inside ? op.map.data[place(s, n, c, y, x)] : op.beyond;
          }
}

}  // namespace featherweight::naive
