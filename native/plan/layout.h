// Which tiles feature maps are cut into.
//
// Operations of stride 1 share one tiling, and their maps form a block; between blocks lie strides. A block may
// take tiles that are a stride times as large as those of the block after it, so that nothing is moved; or tiles
// that fit its own picture, where less work on padding is worth a conversion. Which of them is the question that
// this answers:
//
//   cost = sum over blocks of (vectors of a tile) * (work for a vector) + halos + sum over strides that do not fit
//   of
//          the map's conversion
//
// by improving one block after the other, from several starts.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/lanes.h"
#include "plan/graph.h"
#include "plan/modes.h"
#include "plan/shapes.h"

namespace featherweight {

struct Tiling {
  int grid_n = 1, grid_h = 1, grid_w = 1;
  int tile_n = 0, tile_h = 0, tile_w = 0;

  bool operator==(const Tiling& o) const noexcept {
    return grid_n == o.grid_n && grid_h == o.grid_h && grid_w == o.grid_w && tile_n == o.tile_n &&
           tile_h == o.tile_h && tile_w == o.tile_w;
  }
  bool operator!=(const Tiling& o) const noexcept { return !(*this == o); }
  // Of the input of an operation with this output.
  Tiling times(int stride_h, int stride_w) const noexcept {
    return {grid_n, grid_h, grid_w, tile_n, tile_h * stride_h, tile_w * stride_w};
  }
  bool covers(int batch, int rows, int columns) const noexcept {
    return std::int64_t{grid_n} * tile_n >= batch && std::int64_t{grid_h} * tile_h >= rows &&
           std::int64_t{grid_w} * tile_w >= columns;
  }
};

LaneShape lane_shape(const Shape& shape, const Tiling& tiling, Halo halo);

// The tiling of the output of each operation that gives lanes; of the others it has no meaning. `work`: nanoseconds
// of each operation for each vector of its output's tile.
std::vector<Tiling> choose_tilings(const Graph& graph, const std::vector<ValueType>& types,
                                   const std::vector<Mode>& modes, const std::vector<double>& work, int lanes);

}  // namespace featherweight
