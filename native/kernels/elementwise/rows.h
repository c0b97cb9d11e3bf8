// Planes of feature maps as rows of vectors.
#pragma once

#include "kernels/lanes.h"
#include "kernels/part.h"

namespace featherweight::FW_ISA {

// The inner pixels of one channel of one image of the tiles.
struct Plane {
  int image;
  int channel;
};

// Calls body(Plane) for a part's share of them.
template <class Body>
FW_INLINE void for_each_plane(const LaneShape& s, Part part, Body body) noexcept {
  const Range planes = share(std::int64_t{s.tile_n} * s.channels, part);
  for (std::int64_t i = planes.first; i < planes.last; ++i)
    body(Plane{static_cast<int>(i / s.channels), static_cast<int>(i % s.channels)});
}

FW_INLINE std::ptrdiff_t first_pixel(const LaneShape& s, Plane plane) noexcept {
  return plane.image * s.image_stride() + plane.channel * s.channel_stride() + s.offset(0, 0);
}

// How the rows of a plane lie: all one row where no map has a halo between them.
struct RowShape {
  int rows;
  std::ptrdiff_t vectors;  // in each
};

FW_INLINE bool has_gaps(const LaneShape& s) noexcept { return s.halo.left + s.halo.right != 0; }

FW_INLINE RowShape row_shape(const LaneShape& s, bool gaps) noexcept {
  if (gaps) return {s.tile_h, s.tile_w};
  return {1, std::ptrdiff_t{s.tile_h} * s.tile_w};
}

}  // namespace featherweight::FW_ISA
