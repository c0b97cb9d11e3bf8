#include "kernels/conv/sparse.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/conv/taps.h"

namespace featherweight {
namespace {

// What a block of input channels may fill: a little more than the first cache, since a row reads some of it only.
constexpr std::int64_t kBlockBytes = 56 * 1024;
constexpr double kNonzeros = 12.0;  // of a row in a block, at least: each block moves all sums once

struct Packer {
  const SparseWeights& weights;
  PackedSparseConv& packed;

  const ConvShape& conv() const { return packed.problem.conv; }
  int taps() const { return conv().kernel_h * conv().kernel_w; }
  int group_channels() const { return packed.problem.in.channels / conv().groups; }
  int group_of(int row) const { return row / (packed.problem.out.channels / conv().groups); }

  void choose_blocks(Blocks wanted) {
    const int lanes = packed.problem.out.lanes;
    // Measured with AVX-512: small tiles leave the cache to more channels; windows that overlap favour larger ones.
    const int own = lanes < 16 ? 10 : taps() == 1 ? 7 : 14;
    packed.pieces = cut_into_pieces(packed.problem, wanted.positions > 0 ? wanted.positions : own);
    packed.blocks.positions = packed.pieces.largest;
    packed.blocks.channels = wanted.channels > 0 ? wanted.channels : channels_of_a_block();
    packed.blocks.channels = std::max(1, std::min(packed.blocks.channels, group_channels()));
    packed.channel_blocks = (group_channels() + packed.blocks.channels - 1) / packed.blocks.channels;
  }

  // As many as the cache holds, but enough for some nonzeros in each row.
  int channels_of_a_block() const {
    const Piece& piece = packed.pieces.list.data[0];
    const int vectors = vectors_read(conv(), piece.rows, piece.columns);
    const std::int64_t bytes = std::int64_t{4} * packed.problem.in.lanes * vectors;
    const std::int64_t nonzeros = weights.starts[weights.rows];
    const double of_a_channel = static_cast<double>(nonzeros) / std::max(1, weights.rows * group_channels());
    const auto needed = of_a_channel > 0.0 ? kNonzeros / of_a_channel : 1e9;
    const double wanted = std::max(static_cast<double>(kBlockBytes / std::max<std::int64_t>(1, bytes)), needed);
    if (wanted >= group_channels()) return group_channels();
    const int count = static_cast<int>(group_channels() / wanted);  // blocks of equal sizes
    return (group_channels() + count - 1) / count;
  }

  // Few where positions alone are enough to share, since order by length works better in long strips.
  void choose_strips() {
    const auto tasks = static_cast<std::int64_t>(packed.pieces.list.size) * packed.problem.out.tile_n;
    const int wanted = tasks >= 16 ? 1 : tasks >= 4 ? 4 : 8;
    packed.strips = std::max(1, std::min(wanted, weights.rows / 4));
  }

  // The first row of a strip: nonzeros, and a little for each row, are cut into equal shares.
  int first_row_of(int strip) const {
    const auto cost = [&](int row) { return weights.starts[row] + std::int64_t{4} * row; };
    const std::int64_t bound = cost(weights.rows) * strip / packed.strips;
    int row = 0;
    while (row < weights.rows && cost(row) < bound) ++row;
    return row;
  }

  struct Span {
    std::int64_t first, last;
  };
  // Nonzeros of a row in the block.
  Span nonzeros(int row, int block) const {
    const std::int32_t* columns = weights.columns;
    const std::int32_t low = block * packed.blocks.channels * taps();
    const std::int32_t high = low + packed.blocks.channels * taps();
    const auto* first = columns + weights.starts[row];
    const auto* last = columns + weights.starts[row + 1];
    return {std::lower_bound(first, last, low) - columns, std::lower_bound(first, last, high) - columns};
  }

  void pack() {
    AlignedVector<SparseRun> runs;
    AlignedVector<SparseRow> rows;
    AlignedVector<SparseEntry> entries;
    entries.reserve(static_cast<std::size_t>(weights.starts[weights.rows] + kEntriesAhead));
    for (int block = 0; block < packed.channel_blocks; ++block)
      for (int strip = 0; strip < packed.strips; ++strip) {
        SparseRun run;
        run.first_row = static_cast<std::int64_t>(rows.size());
        run.first_entry = static_cast<std::int64_t>(entries.size());
        for (int row : ordered_rows(strip, block)) {
          const Span span = nonzeros(row, block);
          for (std::int64_t i = span.first; i < span.last; ++i) {
            const int channel = group_of(row) * group_channels() + weights.columns[i] / taps();
            const std::int32_t offset = offset_of(packed.problem, channel, weights.columns[i] % taps());
            entries.push_back(sparse_entry(weights.values[i], offset));
          }
          rows.push_back({row, static_cast<std::int32_t>(span.last - span.first)});
        }
        run.last_row = static_cast<std::int64_t>(rows.size());
        runs.push_back(run);
      }
    entries.resize(entries.size() + kEntriesAhead);
    packed.runs = Array<SparseRun>(std::move(runs));
    packed.rows = Array<SparseRow>(std::move(rows));
    packed.entries = Array<SparseEntry>(std::move(entries));
  }

  // By group, then by length. Rows without nonzeros matter in the first and in the last block alone.
  std::vector<int> ordered_rows(int strip, int block) const {
    std::vector<int> rows;
    const bool all = block == 0 || block == packed.channel_blocks - 1;
    const int last = first_row_of(strip + 1);
    for (int row = first_row_of(strip); row < last; ++row) {
      const Span span = nonzeros(row, block);
      if (all || span.last > span.first) rows.push_back(row);
    }
    std::stable_sort(rows.begin(), rows.end(), [&](int a, int b) {
      const Span of_a = nonzeros(a, block), of_b = nonzeros(b, block);
      return group_of(a) != group_of(b) ? group_of(a) < group_of(b)
                                        : of_a.last - of_a.first < of_b.last - of_b.first;
    });
    return rows;
  }
};

}  // namespace

PackedSparseConv pack_sparse_conv(const SparseWeights& weights, const ConvProblem& problem, Blocks blocks) {
  PackedSparseConv packed;
  packed.problem = problem;
  Packer packer{weights, packed};
  packer.choose_blocks(blocks);
  packer.choose_strips();
  packer.pack();
  return packed;
}

}  // namespace featherweight
