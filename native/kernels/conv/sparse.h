// Sparse convolution in lanes: one nonzero weight multiplies whole vectors of pixels.
//
//   out[m][y][x] = act(bias[m] + residual[m][y][x] + sum over nonzeros w of row m of w * in[origin(y, x) + offset(w)])
//
// offset(w) of input channel c and tap (i, j) is c * channel_stride + (i * dilation_h - pad_top) * row_stride
// + (j * dilation_w - pad_left) * L, and origin the first pixel of the window: shared by all lanes, since each holds a
// tile of its own. A register tile of positions (tiles.h) is summed at once; the nonzeros come as one stream of
// weights and offsets.
//
// Input channels are summed in blocks, so that what a register tile reads of a block stays in the first cache while
// all output channels go over it; sums wait in the output map between blocks. Within a block rows are ordered by
// their number of nonzeros: equal loops in a row are what a processor predicts. Output channels are also cut into
// strips of about equal numbers of nonzeros, which are what threads share.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/array.h"
#include "kernels/conv/tiles.h"
#include "kernels/operations.h"

namespace featherweight {

// A nonzero as one word, for one load: its offset in floats above the 32 bits of its weight.
using SparseEntry = std::uint64_t;

FW_INLINE SparseEntry sparse_entry(float weight, std::int32_t offset) noexcept {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &weight, sizeof bits);
  return std::uint64_t{static_cast<std::uint32_t>(offset)} << 32 | bits;
}
FW_INLINE std::int32_t offset_of_entry(SparseEntry entry) noexcept {
  return static_cast<std::int32_t>(static_cast<std::int64_t>(entry) >> 32);
}
FW_INLINE std::uint32_t weight_bits(SparseEntry entry) noexcept { return static_cast<std::uint32_t>(entry); }

// The nonzeros of an output channel in a block: so many entries, after those of the rows before.
struct SparseRow {
  std::int32_t channel = 0, entries = 0;
};

// The rows of a strip in a block.
struct SparseRun {
  std::int64_t first_row = 0, last_row = 0, first_entry = 0;
};

// Kernels read so many entries ahead: the stream ends with as many that are never used.
constexpr int kEntriesAhead = 3;

struct PackedSparseConv {
  ConvProblem problem;
  Blocks blocks;  // as they are, none is 0
  Pieces pieces;
  int strips = 0, channel_blocks = 0;
  Array<SparseRun> runs;  // [channel block][strip]
  Array<SparseRow> rows;
  Array<SparseEntry> entries;
};

// `weights` has a row for each output channel and a column for each (input channel of the group, tap).
PackedSparseConv pack_sparse_conv(const SparseWeights& weights, const ConvProblem& problem, Blocks blocks = {});

}  // namespace featherweight
