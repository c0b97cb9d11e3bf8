#include "kernels/conv/depthwise.h"

#include <algorithm>

#include "kernels/conv/taps.h"

namespace featherweight {
namespace {

constexpr std::int64_t kFirstCache = 32 * 1024;  // of it, what channels that are done together may fill

int channels_together(const ConvProblem& p) {
  const std::int64_t bytes = std::int64_t{4} * (p.in.channel_stride() + p.out.channel_stride());
  return static_cast<int>(std::clamp<std::int64_t>(kFirstCache / bytes, 1, 64));
}

}  // namespace

PackedDepthwiseConv pack_depthwise_conv(const DenseWeights& weights, const ConvProblem& problem, Blocks blocks) {
  PackedDepthwiseConv packed;
  packed.problem = problem;
  packed.pieces = cut_into_pieces(problem, blocks.positions > 0 ? blocks.positions : most_positions(problem.out.lanes));
  packed.blocks = {packed.pieces.largest, blocks.channels > 0 ? blocks.channels : channels_together(problem)};
  const int multiplier = problem.out.channels / problem.in.channels;
  AlignedVector<SparseRow> rows;
  AlignedVector<std::int64_t> first_entry;
  AlignedVector<SparseEntry> entries;
  for (int row = 0; row < weights.rows; ++row) {
    first_entry.push_back(static_cast<std::int64_t>(entries.size()));
    for (int tap = 0; tap < weights.columns; ++tap) {
      const float weight = weights.values[std::ptrdiff_t{row} * weights.columns + tap];
      if (weight != 0.0f) entries.push_back(sparse_entry(weight, offset_of(problem, row / multiplier, tap)));
    }
    rows.push_back({row, static_cast<std::int32_t>(static_cast<std::int64_t>(entries.size()) - first_entry.back())});
  }
  entries.resize(entries.size() + kEntriesAhead);
  packed.rows = Array<SparseRow>(std::move(rows));
  packed.first_entry = Array<std::int64_t>(std::move(first_entry));
  packed.entries = Array<SparseEntry>(std::move(entries));
  return packed;
}

}  // namespace featherweight
