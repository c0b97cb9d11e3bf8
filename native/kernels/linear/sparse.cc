#include "kernels/linear/sparse.h"

namespace featherweight {
namespace {

// Vectors of tokens in a block: as few unused ones as can be, then as many as can be.
int tile_for(std::int64_t vectors) {
  constexpr int kLeast = 4, kMost = 8;
  if (vectors <= kLeast) return static_cast<int>(vectors);
  const auto unused = [&](int tile) { return (vectors + tile - 1) / tile * tile - vectors; };
  int best = kMost;
  for (int tile = kMost - 1; tile >= kLeast; --tile)
    if (unused(tile) < unused(best)) best = tile;
  return best;
}

LaneShape tokens(int lanes, int channels, int tile) {
  LaneShape s;
  s.lanes = s.grid_w = lanes;
  s.batch = s.height = s.tile_n = s.tile_h = 1;
  s.channels = channels;
  s.width = tile * lanes;
  s.tile_w = tile;
  return s;
}

void pack_tokens(const SparseWeights& weights, PackedSparseLinear* packed) {
  ConvProblem problem;
  problem.in = tokens(packed->lanes, packed->inputs, packed->tile);
  problem.out = tokens(packed->lanes, packed->outputs, packed->tile);
  Blocks blocks;
  blocks.positions = packed->tile;
  packed->conv = pack_sparse_conv(weights, problem, blocks);
  // The first block of channels has all rows of a strip, in some order.
  AlignedVector<std::int32_t> strips{0};
  for (int strip = 0; strip < packed->conv.strips; ++strip) {
    const SparseRun& run = packed->conv.runs.data[strip];
    strips.push_back(strips.back() + static_cast<std::int32_t>(run.last_row - run.first_row));
  }
  packed->strips = Array<std::int32_t>(std::move(strips));
}

void pack_rows(const SparseWeights& weights, PackedSparseLinear* packed) {
  const std::int64_t nonzeros = weights.starts[weights.rows];
  packed->values = Array<float>(AlignedVector<float>(weights.values, weights.values + nonzeros));
  packed->starts = Array<std::int64_t>(AlignedVector<std::int64_t>(weights.starts, weights.starts + weights.rows + 1));
  if (weights.width > 0x10000) {
    packed->wide_columns =
        Array<std::int32_t>(AlignedVector<std::int32_t>(weights.columns, weights.columns + nonzeros));
    return;
  }
  AlignedVector<std::uint16_t> columns(static_cast<std::size_t>(nonzeros));
  for (std::size_t i = 0; i < columns.size(); ++i) columns[i] = static_cast<std::uint16_t>(weights.columns[i]);
  packed->columns = Array<std::uint16_t>(std::move(columns));
}

}  // namespace

PackedSparseLinear pack_sparse_linear(const SparseWeights& weights, int lanes, std::int64_t batch) {
  PackedSparseLinear packed;
  packed.lanes = lanes;
  packed.outputs = weights.rows;
  packed.inputs = weights.width;
  packed.tile = batch < 2 ? 0 : tile_for((batch + lanes - 1) / lanes);
  if (packed.tile > 0) {
    pack_tokens(weights, &packed);
  } else {
    pack_rows(weights, &packed);
  }
  return packed;
}

std::int64_t sparse_linear_scratch(const PackedSparseLinear& packed, int parts) noexcept {
  if (packed.tile == 0) return 0;
  return parts * (packed.conv.problem.in.size() + packed.conv.problem.out.size());
}

}  // namespace featherweight
