#include "kernels/conv/tiles.h"

#include <algorithm>

namespace featherweight {
namespace {

bool without_halo(const LaneShape& s) {
  return s.halo.top == 0 && s.halo.left == 0 && s.halo.bottom == 0 && s.halo.right == 0;
}

bool is_flat(const ConvProblem& p) {
  const ConvShape& c = p.conv;
  const bool pointwise = c.kernel_h == 1 && c.kernel_w == 1 && c.stride_h == 1 && c.stride_w == 1;
  return pointwise && c.pad_top == 0 && c.pad_left == 0 && without_halo(p.in) && without_halo(p.out);
}

int divide_up(int a, int b) { return (a + b - 1) / b; }

// `size` cut into `count` parts that differ by at most one.
int first_of(int size, int count, int index) { return size * index / count; }

struct Cut {
  int down = 0, across = 0;  // how many pieces
};

// All four sizes that a cut makes: the parts of a side differ by at most one.
bool is_possible(const ConvProblem& problem, int rows, int columns, Cut cut) {
  for (int r : {rows / cut.down, divide_up(rows, cut.down)})
    for (int c : {columns / cut.across, divide_up(columns, cut.across)})
      if (r == 0 || c == 0 || !has_tile(problem.out.lanes, problem.conv.stride_w, r, c)) return false;
  return true;
}

Cut best_cut(const ConvProblem& problem, int rows, int columns, int positions) {
  Cut best{rows, columns};
  int best_read = vectors_read(problem.conv, 1, 1);
  for (int down = 1; down <= rows; ++down)
    for (int across = 1; across <= columns; ++across) {
      const int r = divide_up(rows, down), c = divide_up(columns, across);
      if (r * c > positions || !is_possible(problem, rows, columns, {down, across})) continue;
      const int read = vectors_read(problem.conv, r, c);
      const int pieces = down * across, fewest = best.down * best.across;
      if (pieces < fewest || (pieces == fewest && read < best_read)) {
        best = {down, across};
        best_read = read;
      }
    }
  return best;
}

}  // namespace

Range share_pieces(const Pieces& pieces, std::int64_t images, std::int64_t columns, Part part) noexcept {
  const auto count = static_cast<std::int64_t>(pieces.list.size);
  const std::int64_t of_image = std::int64_t{pieces.rows} * pieces.columns * columns;
  // The first task before which the positions of a fraction of all tasks lie.
  const auto first_of_part = [&](int index) {
    const std::int64_t before = images * of_image * index / part.count;
    std::int64_t task = before / of_image * count * columns, left = before % of_image;
    for (std::int64_t i = 0; i < count; ++i, task += columns) {
      const std::int64_t size = std::int64_t{pieces.list.data[i].rows} * pieces.list.data[i].columns;
      if (left < size * columns) return task + left / size;
      left -= size * columns;
    }
    return task;
  };
  return {first_of_part(part.index), first_of_part(part.index + 1)};
}

int vectors_read(const ConvShape& conv, int rows, int columns) noexcept {
  // Strides beyond the kernel skip vectors.
  const auto side = [](int pieces, int stride, int kernel, int dilation) {
    return std::min(pieces * kernel, (pieces - 1) * stride + dilation * (kernel - 1) + 1);
  };
  return side(rows, conv.stride_h, conv.kernel_h, conv.dilation_h) *
         side(columns, conv.stride_w, conv.kernel_w, conv.dilation_w);
}

Pieces cut_into_pieces(const ConvProblem& problem, int positions) {
  const LaneShape& out = problem.out;
  Pieces pieces;
  pieces.flat = is_flat(problem);
  pieces.rows = pieces.flat ? 1 : out.tile_h;
  pieces.columns = pieces.flat ? out.tile_h * out.tile_w : out.tile_w;
  const int most = std::max(1, std::min(positions, most_positions(out.lanes)));
  const Cut cut = best_cut(problem, pieces.rows, pieces.columns, most);
  AlignedVector<Piece> list;
  for (int i = 0; i < cut.down; ++i)
    for (int j = 0; j < cut.across; ++j) {
      Piece p;
      p.row = first_of(pieces.rows, cut.down, i);
      p.column = first_of(pieces.columns, cut.across, j);
      p.rows = first_of(pieces.rows, cut.down, i + 1) - p.row;
      p.columns = first_of(pieces.columns, cut.across, j + 1) - p.column;
      pieces.largest = std::max(pieces.largest, p.rows * p.columns);
      list.push_back(p);
    }
  pieces.list = Array<Piece>(std::move(list));
  return pieces;
}

}  // namespace featherweight
