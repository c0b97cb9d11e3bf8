// The innermost loop of dense products: a tile of sums in registers.
#pragma once

#include "kernels/vec.h"

namespace featherweight::FW_ISA {

// Rows of a tile of one panel: with two vectors each, and what is read, they fill the registers.
#if defined(FW_ISA_AVX512) || defined(FW_ISA_NEON)
inline constexpr int kTileRows = 12;
#else
inline constexpr int kTileRows = 6;
#endif
inline constexpr int kPanelVectors = 2;
inline constexpr int kPanelWidth = kPanelVectors * Vec::kLanes;

// Numbers that are broadcast: rows of the tile, going along the depth of the product.
struct TileInput {
  const float* data;
  std::ptrdiff_t row, step;
};

// Panels of weights [depth][kPanelWidth], `distance` floats from one to the next.
struct TilePanels {
  const float* data;
  std::ptrdiff_t distance;
};

template <int kRows, int kPanels>
struct Tile {
  static constexpr int kVectors = kPanels * kPanelVectors;
  Vec sums[kRows][kVectors];

  FW_INLINE void clear() noexcept {
    FW_UNROLL for (int r = 0; r < kRows; ++r) {
      FW_UNROLL for (int v = 0; v < kVectors; ++v) sums[r][v] = broadcast(0.0f);
    }
  }

  FW_INLINE void add(const TileInput& in, const TilePanels& panels, std::int64_t depth) noexcept {
    const float* x = in.data;
    const float* w = panels.data;
    for (std::int64_t k = 0; k < depth; ++k, x += in.step, w += kPanelWidth) {
      Vec weights[kVectors];
      FW_UNROLL for (int v = 0; v < kVectors; ++v)
        weights[v] = load(w + v / kPanelVectors * panels.distance + v % kPanelVectors * Vec::kLanes);
      FW_UNROLL for (int r = 0; r < kRows; ++r) {
        const Vec number = broadcast(x[r * in.row]);
        FW_UNROLL for (int v = 0; v < kVectors; ++v) sums[r][v] = fma(number, weights[v], sums[r][v]);
      }
    }
  }
};

// Rows cut into tiles of kTileRows, then of 4, then of 1: calls body(Rows<n>{}, first row).
template <int kValue>
struct Rows {
  static constexpr int value = kValue;
};
template <class Body>
FW_INLINE void for_each_row_tile(std::int64_t rows, Body body) noexcept {
  std::int64_t row = 0;
  for (; row + kTileRows <= rows; row += kTileRows) body(Rows<kTileRows>{}, row);
  for (; row + 4 <= rows; row += 4) body(Rows<4>{}, row);
  for (; row < rows; ++row) body(Rows<1>{}, row);
}

}  // namespace featherweight::FW_ISA
