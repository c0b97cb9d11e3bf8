// Dense products: dense_linear (dense.h) and matmul (operations.h).

#include "kernels/linear/dense.h"
#include "kernels/linear/epilogue.h"
#include "kernels/linear/tile.h"

namespace featherweight::FW_ISA {

// Rows of the batch times kPanels panels.
template <int kRows, int kPanels>
FW_INLINE void linear_tile(const DenseLinear& op, const LinearOutput& to, std::int64_t row,
                           std::int64_t panel) noexcept {
  const std::int64_t inputs = op.packed->inputs;
  const std::ptrdiff_t distance = inputs * kPanelWidth;
  Tile<kRows, kPanels> tile;
  tile.clear();
  tile.add({op.in + row * inputs, inputs, 1}, {op.packed->values.data + panel * distance, distance}, inputs);
  FW_UNROLL for (int r = 0; r < kRows; ++r) write_outputs(to, row + r, panel * kPanelWidth, tile.sums[r]);
}

// Panel by panel for all rows: the weights come from memory once.
inline void linear_rows(const DenseLinear& op, const LinearOutput& to, Range panels) noexcept {
  for (std::int64_t panel = panels.first; panel < panels.last; ++panel)
    for_each_row_tile(op.batch, [&](auto rows, std::int64_t row) noexcept {
      linear_tile<decltype(rows)::value, 1>(op, to, row, panel);
    });
}

// For a batch too small to fill a tile: several panels at once keep enough sums under way.
inline void linear_panels(const DenseLinear& op, const LinearOutput& to, Range panels) noexcept {
  constexpr int kAtOnce = 4;
  std::int64_t panel = panels.first;
  for (; panel + kAtOnce <= panels.last; panel += kAtOnce)
    for (std::int64_t row = 0; row < op.batch; ++row) linear_tile<1, kAtOnce>(op, to, row, panel);
  for (; panel < panels.last; ++panel)
    for (std::int64_t row = 0; row < op.batch; ++row) linear_tile<1, 1>(op, to, row, panel);
}

inline void dense_linear(const DenseLinear& op, Part part) noexcept {
  const LinearOutput to = output_of(op);
  const Range panels = share(op.packed->panels, part);
  if (op.batch < 4) {
    linear_panels(op, to, panels);
  } else {
    linear_rows(op, to, panels);
  }
}

// A panel of the right factor, copied so that it is one stream: columns first .. first+kPanelWidth-1, zeros behind the
// last.
inline void copy_panel(const MatMul& op, std::int64_t row, std::int64_t rows, std::int64_t first,
                       float* panel) noexcept {
  const std::int64_t left = op.columns - first;
  const int width = left < kPanelWidth ? static_cast<int>(left) : kPanelWidth;
  for (std::int64_t k = 0; k < rows; ++k) {
    const float* from = op.b + (row + k) * op.b_row + first * op.b_column;
    float* to = panel + k * kPanelWidth;
    if (op.b_column == 1 && width == kPanelWidth) {
      FW_UNROLL for (int v = 0; v < kPanelVectors; ++v) store(to + v * Vec::kLanes, load_any(from + v * Vec::kLanes));
    } else {
      for (int i = 0; i < width; ++i) to[i] = from[i * op.b_column];
      for (int i = width; i < kPanelWidth; ++i) to[i] = 0.0f;
    }
  }
}

// Part of the depth, and one panel of columns.
struct Slab {
  const float* panel;
  std::int64_t row, rows, column;
};

template <int kRows>
FW_INLINE void product_tile(const MatMul& op, const Slab& slab, std::int64_t row) noexcept {
  Tile<kRows, 1> tile;
  tile.clear();
  tile.add({op.a + row * op.a_row + slab.row * op.a_column, op.a_row, op.a_column}, {slab.panel, 0}, slab.rows);
  FW_UNROLL for (int r = 0; r < kRows; ++r) {
    FW_UNROLL for (int v = 0; v < kPanelVectors; ++v) {
      const std::int64_t first = slab.column + v * Vec::kLanes, left = op.columns - first;
      if (left <= 0) break;
      const int count = left < Vec::kLanes ? static_cast<int>(left) : Vec::kLanes;
      float* out = op.out + (row + r) * op.out_row + first;
      Vec sum = tile.sums[r][v];
      if (slab.row > 0) sum = sum + load_first(out, count);
      store_first(out, sum, count);
    }
  }
}

inline void matmul(const MatMul& op, Part part) noexcept {
  constexpr std::int64_t kDepth = 256;
  alignas(64) float panel[kDepth * kPanelWidth];
  const Range panels = share((op.columns + kPanelWidth - 1) / kPanelWidth, part);
  for (std::int64_t i = panels.first; i < panels.last; ++i)
    for (std::int64_t k = 0; k < op.depth || k == 0; k += kDepth) {
      const std::int64_t rows = op.depth - k < kDepth ? op.depth - k : kDepth;
      copy_panel(op, k, rows, i * kPanelWidth, panel);
      for_each_row_tile(op.rows, [&](auto tile, std::int64_t row) noexcept {
        product_tile<decltype(tile)::value>(op, {panel, k, rows, i * kPanelWidth}, row);
      });
    }
}

}  // namespace featherweight::FW_ISA
