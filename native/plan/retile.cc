#include "plan/retile.h"

#include <algorithm>

#include "kernels/part.h"

namespace featherweight {
namespace {

std::int32_t offset_of(const LaneShape& s, int n, int y, int x) noexcept {
  const int lane = (n / s.tile_n * s.grid_h + y / s.tile_h) * s.grid_w + x / s.tile_w;
  return static_cast<std::int32_t>(n % s.tile_n * s.image_stride() + s.offset(y % s.tile_h, x % s.tile_w) + lane);
}

}  // namespace

bool can_retile(const LaneShape& in, const LaneShape& out) noexcept {
  return in.size() <= INT32_MAX && out.size() <= INT32_MAX;
}

std::vector<std::int32_t> retile_table(const LaneShape& in, const LaneShape& out, Strides strides) {
  std::vector<std::int32_t> from;
  from.reserve(static_cast<std::size_t>(out.tile_n) *
               static_cast<std::size_t>(out.tile_h * out.tile_w * out.lanes));
  for (int image = 0; image < out.tile_n; ++image)
    for (int row = 0; row < out.tile_h; ++row)
      for (int column = 0; column < out.tile_w; ++column)
        for (int lane = 0; lane < out.lanes; ++lane) {
          const int n = lane / (out.grid_h * out.grid_w) * out.tile_n + image;
          const int y = (lane / out.grid_w % out.grid_h * out.tile_h + row) * strides.rows;
          const int x = (lane % out.grid_w * out.tile_w + column) * strides.columns;
          from.push_back(
              offset_of(in, std::min(n, in.batch - 1), std::min(y, in.height - 1), std::min(x, in.width - 1)));
        }
  return from;
}

void retile(const Retile& work, Part part) noexcept {
  const LaneShape &in = *work.in.shape, &out = *work.out.shape;
  const int length = out.tile_w * out.lanes;  // of a row of a tile, which lies in one piece
  const Range channels = share(out.channels, part);
  for (std::int64_t channel = channels.first; channel < channels.last; ++channel) {
    const float* source = work.in.data + channel * in.channel_stride();
    const std::int32_t* from = work.from;
    for (int image = 0; image < out.tile_n; ++image)
      for (int row = 0; row < out.tile_h; ++row, from += length) {
        float* to =
            work.out.data + image * out.image_stride() + channel * out.channel_stride() + out.offset(row, 0);
        for (int i = 0; i < length; ++i) to[i] = source[from[i]];
      }
  }
}

}  // namespace featherweight
