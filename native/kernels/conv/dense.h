// Dense convolution in lanes: some output channels times some positions in registers.
//
//   out[m][y][x] = act(bias[m] + residual[m][y][x] + sum over (c, i, j) of weight[m][c][i][j] * in[c][window(y, x)])
//
// For each (input channel, tap) a register tile loads its positions once and multiplies them by a weight of each of
// `width` output channels. Weights lie in the order of their use: [channel block][output block][(channel, tap)][width],
// with zeros for output channels that fill up the last block of a group. Sums wait in the output map between blocks
// of input channels; the epilogue goes over them while they are in the first cache.
#pragma once

#include "kernels/array.h"
#include "kernels/conv/tiles.h"
#include "kernels/operations.h"

namespace featherweight {

// Positions that a register tile of dense convolutions may have.
FW_INLINE constexpr int most_dense_positions(int lanes) noexcept { return lanes == 16 ? 8 : 6; }

// Whether kernels are compiled for tiles of so many positions times output channels: sums, weights and one vector of
// positions must fit the registers.
FW_INLINE constexpr bool has_dense_tile(int lanes, int positions, int width) noexcept {
  const int registers = lanes == 16 ? 32 : 16;
  const bool some = width == 2 || width == 3 || width == 4 || width == 6;
  return some && positions <= most_dense_positions(lanes) && positions * width + width + 1 <= registers;
}

// A block of output channels.
struct DenseBlock {
  int channel = 0, size = 0;   // of them, the first and how many; at most `width`
  std::int64_t in_offset = 0;  // of the group's first input channel, in floats
};

// Kernels read so many offsets ahead: their list is longer by as many, which are never used.
constexpr int kOffsetsAhead = 2;

struct PackedDenseConv {
  ConvProblem problem;
  Blocks blocks;  // as they are, none is 0
  Pieces pieces;
  int width = 0;
  int group_channels = 0, taps = 0;  // input channels of a group
  int channel_blocks = 0;
  Array<DenseBlock> out_blocks;
  Array<std::int32_t> offsets;  // of (channel, tap) of a group, in floats
  Array<float> weights;
};

PackedDenseConv pack_dense_conv(const DenseWeights& weights, const ConvProblem& problem, Blocks blocks = {});

}  // namespace featherweight
