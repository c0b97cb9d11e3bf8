// The layout of feature maps: pixels in lanes, by tiles.
//
// The batch and the picture are cut into L equal tiles, and lane l holds tile l:
//
//   lane = (n * grid_h + h) * grid_w + w,   grid_n * grid_h * grid_w = L
//   pixel (b, c, y, x) is in lane (b / tile_n, y / tile_h, x / tile_w), at
//   [b % tile_n][c][top + y % tile_h][left + x % tile_w][lane]
//
// A shift by one pixel is a shift by one whole vector, so every load is aligned, for any kernel, stride and
// dilation. Where the grid does not divide the picture, lanes of the last tiles overhang it: what they hold there
// is unspecified, except where a kernel says that it needs zeros.
//
// Around each tile is a halo: what lies beyond it in its neighbours. It is unspecified until fill_halo fills it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/always_inline.h"

namespace featherweight {

// Sizes of the border around each tile, in pixels.
struct Halo {
  int top = 0, left = 0, bottom = 0, right = 0;

  bool operator==(const Halo& o) const noexcept {
    return top == o.top && left == o.left && bottom == o.bottom && right == o.right;
  }
};

struct LaneShape {
  int lanes = 0;                                     // L: floats in a vector
  int batch = 0, channels = 0, height = 0, width = 0;  // of the picture
  int grid_n = 1, grid_h = 1, grid_w = 1;            // tiles; their product is `lanes`
  int tile_n = 0, tile_h = 0, tile_w = 0;            // images, rows and columns of a tile
  Halo halo;

  bool operator==(const LaneShape& o) const noexcept {
    return lanes == o.lanes && batch == o.batch && channels == o.channels && height == o.height && width == o.width &&
           grid_n == o.grid_n && grid_h == o.grid_h && grid_w == o.grid_w && tile_n == o.tile_n &&
           tile_h == o.tile_h && tile_w == o.tile_w && halo == o.halo;
  }

  FW_INLINE int rows() const noexcept { return halo.top + tile_h + halo.bottom; }
  FW_INLINE int columns() const noexcept { return halo.left + tile_w + halo.right; }

  // Distances in floats.
  FW_INLINE std::ptrdiff_t row_stride() const noexcept { return std::ptrdiff_t{columns()} * lanes; }
  FW_INLINE std::ptrdiff_t channel_stride() const noexcept {
    // An odd number of cache lines: strides that are powers of two would fall into the same sets of the cache.
    constexpr std::ptrdiff_t kLine = 16;
    const std::ptrdiff_t lines = (rows() * row_stride() + kLine - 1) / kLine;
    return (lines | 1) * kLine;
  }
  FW_INLINE std::ptrdiff_t image_stride() const noexcept { return channels * channel_stride(); }
  FW_INLINE std::ptrdiff_t size() const noexcept { return tile_n * image_stride(); }

  // Of the pixel (row, column) of a tile, from the start of its channel; both may be negative: in the halo.
  FW_INLINE std::ptrdiff_t offset(int row, int column) const noexcept {
    return (halo.top + row) * row_stride() + std::ptrdiff_t{halo.left + column} * lanes;
  }
};

// A feature map: `data` is aligned to 64 bytes.
struct LaneView {
  float* data = nullptr;
  const LaneShape* shape = nullptr;
};
struct ConstLaneView {
  const float* data = nullptr;
  const LaneShape* shape = nullptr;
};

}  // namespace featherweight
