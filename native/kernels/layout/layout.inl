// Into lanes, out of them, and halos. The formulas are in kernels/lanes.h.
//
// Pixel (r, c) of a tile, which may lie in its halo, is in the tile that is floor(r / tile_h) rows and
// floor(c / tile_w) columns of the grid further on: for all lanes that is one shift by lanes, of the vector at
// (r mod tile_h, c mod tile_w). So a halo costs one permutation for each vector of it.

namespace featherweight::FW_ISA {

// Which tile a lane holds.
struct Cell {
  int n, h, w;
};
FW_INLINE Cell cell_of(const LaneShape& s, int lane) noexcept {
  return {lane / (s.grid_w * s.grid_h), lane / s.grid_w % s.grid_h, lane % s.grid_w};
}

FW_INLINE int at_least(int a, int b) noexcept { return a < b ? b : a; }
FW_INLINE int at_most(int a, int b) noexcept { return a < b ? a : b; }

// The rows that a tile and the picture have in common, as their place in both.
struct Overlap {
  int first, size;
};
FW_INLINE Overlap overlap(int index, int tile, int picture) noexcept {
  return {index * tile, at_least(0, at_most(tile, picture - index * tile))};
}

// A row of all tiles: for each lane the index of its first pixel in the (N, C, H, W) array, and how many of its pixels
// are in the picture.
struct TileRow {
  std::int64_t pixel[Vec::kLanes];
  int size[Vec::kLanes];
  int smallest;
};

FW_INLINE TileRow tile_row(const LaneShape& s, int image, std::int64_t channel, int row) noexcept {
  TileRow result;
  result.smallest = s.tile_w;
  for (int lane = 0; lane < Vec::kLanes; ++lane) {
    const Cell cell = cell_of(s, lane);
    const std::int64_t n = std::int64_t{cell.n} * s.tile_n + image;
    const std::int64_t y = std::int64_t{cell.h} * s.tile_h + row;
    const Overlap columns = overlap(cell.w, s.tile_w, s.width);
    result.pixel[lane] = ((n * s.channels + channel) * s.height + y) * s.width + columns.first;
    result.size[lane] = n < s.batch && y < s.height ? columns.size : 0;
    result.smallest = at_most(result.smallest, result.size[lane]);
  }
  return result;
}

// Calls copy(pixel, place) for each pixel of the picture; `place` is where it is in lanes. One vector after the other
// where all lanes have a pixel.
template <class Copy>
FW_INLINE void for_each_pixel(const LaneShape& s, Part part, Copy copy) noexcept {
  const Range channels = share(s.channels, part);
  for (int image = 0; image < s.tile_n; ++image)
    for (int row = 0; row < s.tile_h; ++row) {
      TileRow tiles = tile_row(s, image, channels.first, row);
      std::ptrdiff_t place = image * s.image_stride() + channels.first * s.channel_stride() + s.offset(row, 0);
      for (std::int64_t channel = channels.first; channel < channels.last; ++channel) {
        for (int i = 0; i < tiles.smallest; ++i)
          FW_UNROLL for (int lane = 0; lane < Vec::kLanes; ++lane)
            copy(tiles.pixel[lane] + i, place + std::ptrdiff_t{i} * Vec::kLanes + lane);
        for (int lane = 0; lane < Vec::kLanes; ++lane)
          for (int i = tiles.smallest; i < tiles.size[lane]; ++i)
            copy(tiles.pixel[lane] + i, place + std::ptrdiff_t{i} * Vec::kLanes + lane);
        place += s.channel_stride();
        for (int lane = 0; lane < Vec::kLanes; ++lane) tiles.pixel[lane] += std::int64_t{s.height} * s.width;
      }
    }
}

inline void enter_lanes(const EnterLanes& op, Part part) noexcept {
  const float* in = op.in;
  float* out = op.out.data;
  for_each_pixel(*op.out.shape, part, [=](std::int64_t pixel, std::ptrdiff_t place) { out[place] = in[pixel]; });
}

inline void leave_lanes(const LeaveLanes& op, Part part) noexcept {
  const float* in = op.in.data;
  float* out = op.out;
  for_each_pixel(*op.in.shape, part, [=](std::int64_t pixel, std::ptrdiff_t place) { out[pixel] = in[place]; });
}

// A vector of the halo, or one with lanes that overhang the picture.
struct Border {
  std::ptrdiff_t to, from;  // from the start of the channel
  int shift;
  std::uint32_t bits;  // of the lanes that have a pixel there
};

FW_INLINE int floor_divide(int a, int b) noexcept { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// Lanes by their row (or column, or image) of the grid.
struct GridLine {
  int tile, picture, size;           // pixels of a tile and of the picture, tiles
  std::uint32_t below[Vec::kLanes + 1];  // bits of the lanes in tiles before this one

  template <class Index>
  FW_INLINE GridLine(int tile_size, int picture_size, int grid, Index index) noexcept
      : tile(tile_size), picture(picture_size), size(grid) {
    for (int i = 0; i <= grid; ++i) {
      below[i] = 0;
      for (int lane = 0; lane < Vec::kLanes; ++lane)
        if (index(lane) < i) below[i] |= 1u << lane;
    }
  }
  // Bits of the lanes whose pixel `at` of their tiles, which may be in the halo, is inside of the picture.
  FW_INLINE std::uint32_t inside(int at) const noexcept {
    const int first = at_most(size, at_least(0, -floor_divide(at, tile)));
    const int last = at_most(size, at_least(0, -floor_divide(at - picture, tile)));
    return last > first ? below[last] & ~below[first] : 0;
  }
  // Pixels at the start of a tile that are inside of the picture in all lanes.
  FW_INLINE int common() const noexcept { return at_most(tile, at_least(0, picture - (size - 1) * tile)); }
};

struct Borders {
  static constexpr int kMost = 512;
  int size = 0;
  Border list[kMost];
};

inline void fill_borders(const FillHalo& op, const Borders& borders, int image, Range channels) noexcept {
  const LaneShape& s = *op.map.shape;
  const Vec beyond = broadcast(op.beyond);
  for (std::int64_t channel = channels.first; channel < channels.last; ++channel) {
    float* data = op.map.data + image * s.image_stride() + channel * s.channel_stride();
    for (int i = 0; i < borders.size; ++i) {
      const Border& b = borders.list[i];
      store(data + b.to, shift_lanes(load(data + b.from), b.shift, b.bits, beyond));
    }
  }
}

inline void fill_halo(const FillHalo& op, Part part) noexcept {
  const LaneShape& s = *op.map.shape;
  const Range channels = share(s.channels, part);
  constexpr std::uint32_t kAll = static_cast<std::uint32_t>((std::uint64_t{1} << Vec::kLanes) - 1);
  const GridLine in_images(s.tile_n, s.batch, s.grid_n, [&](int lane) { return cell_of(s, lane).n; });
  const GridLine in_rows(s.tile_h, s.height, s.grid_h, [&](int lane) { return cell_of(s, lane).h; });
  const GridLine in_columns(s.tile_w, s.width, s.grid_w, [&](int lane) { return cell_of(s, lane).w; });
  Borders borders;
  for (int image = 0; image < s.tile_n; ++image) {
    for (int row = -s.halo.top; row < s.tile_h + s.halo.bottom; ++row) {
      const std::uint32_t rows = in_images.inside(image) & in_rows.inside(row);
      const int grid_row = floor_divide(row, s.tile_h);
      const bool inner = grid_row == 0 && rows == kAll;
      for (int column = -s.halo.left; column < s.tile_w + s.halo.right; ++column) {
        if (inner && column == 0) column = in_columns.common();
        if (column >= s.tile_w + s.halo.right) break;
        const int grid_column = floor_divide(column, s.tile_w);
        Border& border = borders.list[borders.size++];
        border.to = s.offset(row, column);
        border.from = s.offset(row - grid_row * s.tile_h, column - grid_column * s.tile_w);
        border.shift = grid_row * s.grid_w + grid_column;
        border.bits = rows & in_columns.inside(column);
        if (borders.size == Borders::kMost) {
          fill_borders(op, borders, image, channels);
          borders.size = 0;
        }
      }
    }
    fill_borders(op, borders, image, channels);
    borders.size = 0;
  }
}

}  // namespace featherweight::FW_ISA
