// Depthwise convolution in lanes: a group for each input channel, and one or more output channels for each group.
//
//   out[m][y][x] = act(bias[m] + residual + sum over taps (i, j) of weight[m][i][j] * in[m / multiplier][window(y, x)])
//
// Some output channels after the others, each register tile of all of them: their input and output stay in the first
// cache. The inner loop is that of sparse convolutions: weights that are zero cost nothing.
#pragma once

#include "kernels/conv/sparse.h"

namespace featherweight {

struct PackedDepthwiseConv {
  ConvProblem problem;
  Blocks blocks;  // channels: output channels that are done together
  Pieces pieces;
  Array<SparseRow> rows;           // one for each output channel
  Array<std::int64_t> first_entry;  // of each row
  Array<SparseEntry> entries;
};

// problem.conv.groups is the number of input channels.
PackedDepthwiseConv pack_depthwise_conv(const DenseWeights& weights, const ConvProblem& problem, Blocks blocks = {});

}  // namespace featherweight
