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

// Calls copy(pixels, place, size) for each piece of a row that is in one tile: `pixels` is the index of its first
// pixel in the (N, C, H, W) array, `place` where it is in lanes, in steps of L.
template <class Copy>
FW_INLINE void for_each_piece(const LaneShape& s, Part part, Copy copy) noexcept {
  const Range channels = share(s.channels, part);
  for (int image = 0; image < s.tile_n; ++image)
    for (std::int64_t channel = channels.first; channel < channels.last; ++channel)
      for (int lane = 0; lane < s.lanes; ++lane) {
        const Cell cell = cell_of(s, lane);
        const std::int64_t n = std::int64_t{cell.n} * s.tile_n + image;
        if (n >= s.batch) continue;
        const Overlap rows = overlap(cell.h, s.tile_h, s.height);
        const Overlap columns = overlap(cell.w, s.tile_w, s.width);
        const std::int64_t pixels =
            ((n * s.channels + channel) * s.height + rows.first) * s.width + columns.first;
        const std::ptrdiff_t place = image * s.image_stride() + channel * s.channel_stride() + s.offset(0, 0) + lane;
        for (int row = 0; row < rows.size; ++row)
          copy(pixels + std::int64_t{row} * s.width, place + row * s.row_stride(), columns.size);
      }
}

inline void enter_lanes(const EnterLanes& op, Part part) noexcept {
  for_each_piece(*op.out.shape, part, [&](std::int64_t pixels, std::ptrdiff_t place, int size) {
    const float* from = op.in + pixels;
    float* to = op.out.data + place;
    for (int i = 0; i < size; ++i) to[std::ptrdiff_t{i} * Vec::kLanes] = from[i];
  });
}

inline void leave_lanes(const LeaveLanes& op, Part part) noexcept {
  for_each_piece(*op.in.shape, part, [&](std::int64_t pixels, std::ptrdiff_t place, int size) {
    const float* from = op.in.data + place;
    float* to = op.out + pixels;
    for (int i = 0; i < size; ++i) to[i] = from[std::ptrdiff_t{i} * Vec::kLanes];
  });
}

// A vector of the halo, or one with lanes that overhang the picture.
struct Border {
  std::ptrdiff_t to, from;  // from the start of the channel
  int shift;
  std::uint32_t bits;  // of the lanes that have a pixel there
};

FW_INLINE int floor_divide(int a, int b) noexcept { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// Bits of the lanes whose tiles have row (or column, or image) `at` of the tile inside of the picture.
template <class Index>
FW_INLINE std::uint32_t lanes_inside(int lanes, int at, int tile, int picture, Index index) noexcept {
  std::uint32_t bits = 0;
  for (int lane = 0; lane < lanes; ++lane) {
    const int global = index(lane) * tile + at;
    if (global >= 0 && global < picture) bits |= 1u << lane;
  }
  return bits;
}

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
  Borders borders;
  for (int image = 0; image < s.tile_n; ++image) {
    const std::uint32_t images =
        lanes_inside(s.lanes, image, s.tile_n, s.batch, [&](int lane) { return cell_of(s, lane).n; });
    for (int row = -s.halo.top; row < s.tile_h + s.halo.bottom; ++row) {
      const std::uint32_t rows =
          images & lanes_inside(s.lanes, row, s.tile_h, s.height, [&](int lane) { return cell_of(s, lane).h; });
      const int grid_row = floor_divide(row, s.tile_h);
      for (int column = -s.halo.left; column < s.tile_w + s.halo.right; ++column) {
        const std::uint32_t bits =
            rows & lanes_inside(s.lanes, column, s.tile_w, s.width, [&](int lane) { return cell_of(s, lane).w; });
        const int grid_column = floor_divide(column, s.tile_w);
        if (grid_row == 0 && grid_column == 0 && bits == kAll) continue;
        Border& border = borders.list[borders.size++];
        border.to = s.offset(row, column);
        border.from = s.offset(row - grid_row * s.tile_h, column - grid_column * s.tile_w);
        border.shift = grid_row * s.grid_w + grid_column;
        border.bits = bits;
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
