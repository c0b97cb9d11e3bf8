// Pooling in lanes: pool and global_pool. The contracts are in operations.h.
//
// The padding needs no care where windows are combined, for the halo holds what changes nothing (minus infinity, or
// zeros). An average is sum * 1/rows * 1/columns, where rows and columns of the picture that are in the window depend
// on the lane: the picture's borders are in some lanes only.
//
// A maximum over numbers that are not all numbers is unspecified.

#include <cmath>

#include "kernels/elementwise/rows.h"

namespace featherweight::FW_ISA {

struct Largest {
  FW_INLINE static Vec start() noexcept { return broadcast(-INFINITY); }
  FW_INLINE static Vec join(Vec a, Vec b) noexcept { return max(a, b); }
  FW_INLINE static float join(float a, float b) noexcept { return a < b ? b : a; }
  FW_INLINE static float of_lanes(Vec v) noexcept {
    alignas(64) float lanes[Vec::kLanes];
    store(lanes, v);
    float joined = lanes[0];
    for (int lane = 1; lane < Vec::kLanes; ++lane) joined = join(joined, lanes[lane]);
    return joined;
  }
};
struct Total {
  FW_INLINE static Vec start() noexcept { return broadcast(0.0f); }
  FW_INLINE static Vec join(Vec a, Vec b) noexcept { return a + b; }
  FW_INLINE static float join(float a, float b) noexcept { return a + b; }
  FW_INLINE static float of_lanes(Vec v) noexcept { return sum(v); }
};

// A window's pixels from its first one.
struct Window {
  int rows, columns;
  std::ptrdiff_t row_step, column_step, stride;  // in floats; stride: to the window of the next output
};

// The windows of kOutputs neighbouring outputs.
template <class Join, int kOutputs>
FW_INLINE void join_windows(const float* in, const Window& window, Vec (&joined)[kOutputs]) noexcept {
  FW_UNROLL for (int i = 0; i < kOutputs; ++i) joined[i] = Join::start();
  for (int row = 0; row < window.rows; ++row) {
    const float* pixel = in + row * window.row_step;
    for (int column = 0; column < window.columns; ++column, pixel += window.column_step)
      FW_UNROLL for (int i = 0; i < kOutputs; ++i) joined[i] = Join::join(joined[i], load(pixel + i * window.stride));
  }
}

// out[i] = scale(i, the window of output i) for a row of outputs.
template <class Join, class Scale>
FW_INLINE void pool_row(const float* in, const Window& window, float* out, int size, Scale scale) noexcept {
  constexpr int kAtOnce = 4;
  int i = 0;
  for (; i + kAtOnce <= size; i += kAtOnce) {
    Vec joined[kAtOnce];
    join_windows<Join>(in + i * window.stride, window, joined);
    FW_UNROLL for (int k = 0; k < kAtOnce; ++k) store(out + (i + k) * Vec::kLanes, scale(i + k, joined[k]));
  }
  for (; i < size; ++i) {
    Vec joined[1];
    join_windows<Join>(in + i * window.stride, window, joined);
    store(out + i * Vec::kLanes, scale(i, joined[0]));
  }
}

// One axis of an average: the windows of outputs, and where the pixels that count begin and end.
struct CountedAxis {
  int kernel, stride, pad, tile, begin, end;
};

FW_INLINE int clip(int x, int low, int high) noexcept { return x < low ? low : (x > high ? high : x); }

// 1 / the pixels that count of the window of output `index` of the whole picture.
FW_INLINE float share_of_pixel(const CountedAxis& axis, int index) noexcept {
  const int first = index * axis.stride - axis.pad;
  const int counted = clip(first + axis.kernel, axis.begin, axis.end) - clip(first, axis.begin, axis.end);
  return counted > 0 ? 1.0f / static_cast<float>(counted) : 0.0f;
}

// The same for every lane of outputs first .. first+size-1 of a tile: table[output][lane]. `cells` has each lane's
// place in the grid.
FW_INLINE void share_table(const CountedAxis& axis, const int* cells, int first, int size, float* table) noexcept {
  for (int i = 0; i < size; ++i)
    for (int lane = 0; lane < Vec::kLanes; ++lane)
      table[i * Vec::kLanes + lane] = share_of_pixel(axis, cells[lane] * axis.tile + first + i);
}

FW_INLINE CountedAxis counted_rows(const Pool& op) noexcept {
  const ConvShape& w = op.window;
  const int begin = op.count_pads ? -w.pad_top : 0;
  const int end = op.in.shape->height + (op.count_pads ? op.pad_bottom : 0);
  return {w.kernel_h, w.stride_h, w.pad_top, op.out.shape->tile_h, begin, end};
}
FW_INLINE CountedAxis counted_columns(const Pool& op) noexcept {
  const ConvShape& w = op.window;
  const int begin = op.count_pads ? -w.pad_left : 0;
  const int end = op.in.shape->width + (op.count_pads ? op.pad_right : 0);
  return {w.kernel_w, w.stride_w, w.pad_left, op.out.shape->tile_w, begin, end};
}

FW_INLINE Window window_of(const Pool& op) noexcept {
  const std::ptrdiff_t row = op.in.shape->row_stride();
  return {op.window.kernel_h, op.window.kernel_w, op.window.dilation_h * row,
          std::ptrdiff_t{op.window.dilation_w} * Vec::kLanes, std::ptrdiff_t{op.window.stride_w} * Vec::kLanes};
}

// Output rows and columns that are pooled together, by tables on the stack.
struct Patch {
  static constexpr int kMost = 32;
  int row, column, rows, columns;
};

// Calls scaled_row(in, out, row of the patch) for every plane and row of a patch.
template <class Row>
FW_INLINE void for_each_patch_row(const Pool& op, Part part, const Patch& patch, Row scaled_row) noexcept {
  const LaneShape &from = *op.in.shape, &to = *op.out.shape;
  for_each_plane(to, part, [&](Plane plane) noexcept {
    const float* in = op.in.data + plane.image * from.image_stride() + plane.channel * from.channel_stride();
    float* out = op.out.data + plane.image * to.image_stride() + plane.channel * to.channel_stride();
    for (int r = 0; r < patch.rows; ++r) {
      const int row = (patch.row + r) * op.window.stride_h - op.window.pad_top;
      const int column = patch.column * op.window.stride_w - op.window.pad_left;
      scaled_row(in + from.offset(row, column), out + to.offset(patch.row + r, patch.column), r);
    }
  });
}

inline void average_patch(const Pool& op, Part part, const Patch& patch) noexcept {
  alignas(64) float rows[Patch::kMost * Vec::kLanes];
  alignas(64) float columns[Patch::kMost * Vec::kLanes];
  int cells_h[Vec::kLanes], cells_w[Vec::kLanes];
  for (int lane = 0; lane < Vec::kLanes; ++lane) {
    const Cell cell = cell_of(*op.out.shape, lane);
    cells_h[lane] = cell.h;
    cells_w[lane] = cell.w;
  }
  share_table(counted_rows(op), cells_h, patch.row, patch.rows, rows);
  share_table(counted_columns(op), cells_w, patch.column, patch.columns, columns);
  const Window window = window_of(op);
  for_each_patch_row(op, part, patch, [&](const float* in, float* out, int row) noexcept {
    const Vec of_row = load(rows + row * Vec::kLanes);
    pool_row<Total>(in, window, out, patch.columns,
                    [&](int i, Vec sum) noexcept { return sum * (of_row * load(columns + i * Vec::kLanes)); });
  });
}

inline void max_patch(const Pool& op, Part part, const Patch& patch) noexcept {
  const Window window = window_of(op);
  for_each_patch_row(op, part, patch, [&](const float* in, float* out, int) noexcept {
    pool_row<Largest>(in, window, out, patch.columns, [](int, Vec largest) noexcept { return largest; });
  });
}

inline void pool(const Pool& op, Part part) noexcept {
  const LaneShape& s = *op.out.shape;
  if (op.kind == PoolKind::kMax) return max_patch(op, part, {0, 0, s.tile_h, s.tile_w});
  for (int row = 0; row < s.tile_h; row += Patch::kMost)
    for (int column = 0; column < s.tile_w; column += Patch::kMost)
      average_patch(op, part,
                    {row, column, at_most(Patch::kMost, s.tile_h - row), at_most(Patch::kMost, s.tile_w - column)});
}

// How many rows and columns of its tile each lane has of the picture, and how many all lanes have.
struct Inside {
  Vec rows, columns;
  int all_columns;
};

FW_INLINE Inside inside_of(const LaneShape& s) noexcept {
  alignas(64) float rows[Vec::kLanes], columns[Vec::kLanes];
  int all_columns = s.tile_w;
  for (int lane = 0; lane < Vec::kLanes; ++lane) {
    const Cell cell = cell_of(s, lane);
    const int of_lane = overlap(cell.w, s.tile_w, s.width).size;
    rows[lane] = static_cast<float>(overlap(cell.h, s.tile_h, s.height).size);
    columns[lane] = static_cast<float>(of_lane);
    all_columns = at_most(all_columns, of_lane);
  }
  return {load(rows), load(columns), all_columns};
}

// A row of vectors; several at once, for each waits for the one before.
template <class Join>
FW_INLINE Vec join_row(const float* in, int size) noexcept {
  constexpr int kAtOnce = 4;
  Vec joined[kAtOnce];
  FW_UNROLL for (int k = 0; k < kAtOnce; ++k) joined[k] = Join::start();
  int i = 0;
  for (; i + kAtOnce <= size; i += kAtOnce)
    FW_UNROLL for (int k = 0; k < kAtOnce; ++k) joined[k] = Join::join(joined[k], load(in + (i + k) * Vec::kLanes));
  for (; i < size; ++i) joined[0] = Join::join(joined[0], load(in + i * Vec::kLanes));
  return Join::join(Join::join(joined[0], joined[1]), Join::join(joined[2], joined[3]));
}

// Each lane's pixels of one plane.
template <class Join>
FW_INLINE Vec join_plane(const float* in, const LaneShape& s, const Inside& inside) noexcept {
  Vec joined = Join::start();
  for (int row = 0; row < s.tile_h; ++row, in += s.row_stride()) {
    Vec of_row = join_row<Join>(in, inside.all_columns);
    for (int column = inside.all_columns; column < s.tile_w; ++column) {
      const Mask has = broadcast(static_cast<float>(column)) < inside.columns;
      of_row = Join::join(of_row, select(has, load(in + column * Vec::kLanes), Join::start()));
    }
    joined = Join::join(joined, select(broadcast(static_cast<float>(row)) < inside.rows, of_row, Join::start()));
  }
  return joined;
}

// Joins the lanes of each image. `scale` makes an average of a sum.
template <class Join>
FW_INLINE void global_planes(const GlobalPool& op, Part part, float scale) noexcept {
  const LaneShape& s = *op.in.shape;
  const Inside inside = inside_of(s);
  const int lanes_of_image = s.grid_h * s.grid_w;
  for_each_plane(s, part, [&](Plane plane) noexcept {
    const Vec joined_lanes = join_plane<Join>(op.in.data + first_pixel(s, plane), s, inside);
    if (s.grid_n == 1) {
      op.out[plane.image * s.channels + plane.channel] = Join::of_lanes(joined_lanes) * scale;
      return;
    }
    alignas(64) float lanes[Vec::kLanes];
    store(lanes, joined_lanes);
    for (int cell = 0; cell < s.grid_n; ++cell) {
      const std::int64_t image = std::int64_t{cell} * s.tile_n + plane.image;
      if (image >= s.batch) break;
      const float* of_image = lanes + cell * lanes_of_image;
      float joined = of_image[0];
      for (int lane = 1; lane < lanes_of_image; ++lane) joined = Join::join(joined, of_image[lane]);
      op.out[image * s.channels + plane.channel] = joined * scale;
    }
  });
}

inline void global_pool(const GlobalPool& op, Part part) noexcept {
  if (op.kind == PoolKind::kMax) return global_planes<Largest>(op, part, 1.0f);
  const float pixels = static_cast<float>(op.in.shape->height) * static_cast<float>(op.in.shape->width);
  global_planes<Total>(op, part, 1.0f / pixels);
}

}  // namespace featherweight::FW_ISA
