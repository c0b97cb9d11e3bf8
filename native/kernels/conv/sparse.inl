// See sparse.h.
#pragma once

#include "kernels/conv/fetch.h"
#include "kernels/conv/register_tile.h"
#include "kernels/conv/sparse.h"

namespace featherweight::FW_ISA {

struct SparseRows {
  const SparseRow* first = nullptr;
  const SparseRow* last = nullptr;
  const SparseEntry* entries = nullptr;
};

// The next nonzeros, read before they are needed: the processor starts loads about in their order, so an address that
// waits for a load of its own would hold up all that follow. Rows follow each other in the stream.
struct Ahead {
  static_assert(kEntriesAhead == 3, "as many as there are members");
  SparseEntry first, second, third;

  FW_INLINE explicit Ahead(const SparseEntry* entry) noexcept : first(entry[0]), second(entry[1]), third(entry[2]) {}
  FW_INLINE SparseEntry next(const SparseEntry* entry) noexcept {
    const SparseEntry now = first;
    first = second;
    second = third;
    third = entry[kEntriesAhead];
    return now;
  }
};

// sums += weight * positions, for one nonzero. S is the stride if it is known, else 0.
template <int R, int C, int S>
FW_INLINE void add_entry(Sums<R, C>& sums, SparseEntry entry, const PieceWork& work) noexcept {
  const std::ptrdiff_t column = S != 0 ? std::ptrdiff_t{S} * Vec::kLanes : work.in_steps.column;
  const Vec weight = broadcast_bits(weight_bits(entry));
  const float* in = work.in + offset_of_entry(entry);
  FW_UNROLL for (int i = 0; i < R; ++i)
    FW_UNROLL for (int j = 0; j < C; ++j)
      sums.at[i][j] = fma(weight, load(in + i * work.in_steps.row + j * column), sums.at[i][j]);
}

// Sums that are independent of each other hide the latency of additions: about eight are wanted. Small tiles have
// several of each, for nonzeros in turn.
constexpr int turns_of(int positions) noexcept { return positions >= 6 ? 1 : positions >= 3 ? 2 : 4; }

template <int R, int C, int S>
void sparse_piece(const PieceWork& given, const SparseRows& rows, const Fetch& fetch) noexcept {
  constexpr int kTurns = turns_of(R * C);
  const PieceWork work = given;
  const bool fetches = fetch.entries || fetch.sums || fetch.channels > 0;
  const float* panel = fetch.panel;
  const float* const panel_end = panel + fetch.channels * work.in_steps.channel;
  const std::ptrdiff_t of_row = fetch.channels / (rows.last - rows.first + 1) + 1;
  const SparseEntry* entry = rows.entries;
  Ahead ahead(entry);
  for (const SparseRow* row = rows.first; row != rows.last; ++row) {
    if (fetches) {
      if (fetch.entries) fetch_entries(entry, row->entries);
      if (fetch.sums && rows.last - row > kRowsFetched) fetch_row<R, C>(work, row[kRowsFetched].channel);
      for (std::ptrdiff_t i = 0; i < of_row && panel != panel_end; ++i, panel += work.in_steps.channel)
        fetch_channel(fetch, panel);
    }
    Sums<R, C> sums[kTurns];
    resume(sums[0], work, row->channel);
    FW_UNROLL for (int turn = 1; turn < kTurns; ++turn) clear(sums[turn]);
    const SparseEntry* const end = entry + row->entries;
    for (; end - entry >= kTurns; entry += kTurns)
      FW_UNROLL for (int turn = 0; turn < kTurns; ++turn)
        add_entry<R, C, S>(sums[turn], ahead.next(entry + turn), work);
    if constexpr (kTurns > 1) {
      for (; entry != end; ++entry) add_entry<R, C, S>(sums[0], ahead.next(entry), work);
      FW_UNROLL for (int turn = 1; turn < kTurns; ++turn)
        FW_UNROLL for (int i = 0; i < R; ++i)
          FW_UNROLL for (int j = 0; j < C; ++j) sums[0].at[i][j] = sums[0].at[i][j] + sums[turn].at[i][j];
    }
    write(sums[0], work, row->channel);
  }
}

using SparseKernel = void (*)(const PieceWork&, const SparseRows&, const Fetch&) noexcept;

template <int S, int R, int C>
constexpr SparseKernel sparse_kernel() noexcept {
  if constexpr (has_tile(Vec::kLanes, S == 0 ? 3 : S, R, C)) return &sparse_piece<R, C, S>;
  return nullptr;
}

constexpr int kMostRows = 8, kMostColumns = most_positions(16);

struct SparseKernels {
  SparseKernel at[kMostRows * kMostColumns];
};
template <int S, int... I>
constexpr SparseKernels sparse_kernels(std::integer_sequence<int, I...>) noexcept {
  return {{sparse_kernel<S, I / kMostColumns + 1, I % kMostColumns + 1>()...}};
}
constexpr SparseKernels kSparseKernels[3] = {
    sparse_kernels<0>(std::make_integer_sequence<int, kMostRows * kMostColumns>{}),
    sparse_kernels<1>(std::make_integer_sequence<int, kMostRows * kMostColumns>{}),
    sparse_kernels<2>(std::make_integer_sequence<int, kMostRows * kMostColumns>{})};

FW_INLINE SparseKernel sparse_kernel_for(int stride, const Piece& piece) noexcept {
  return kSparseKernels[stride > 2 ? 0 : stride].at[(piece.rows - 1) * kMostColumns + piece.columns - 1];
}

// What to ask for while a block of a piece is summed: the next block's input, or the next piece's first.
inline Fetch fetch_of(const SparseConv& op, std::int64_t tile, int block) noexcept {
  const PackedSparseConv& packed = *op.packed;
  const auto pieces = static_cast<std::int64_t>(packed.pieces.list.size);
  const LaneShape& in = packed.problem.in;
  const ConvShape& conv = packed.problem.conv;
  const int channels = packed.blocks.channels;
  const bool next_tile = block + 1 == packed.channel_blocks;
  Fetch fetch;
  fetch.sums = block == 0 && packed.problem.out.size() > kLargeMap;
  const bool pointwise = conv.kernel_h * conv.kernel_w == 1;
  // Windows read each vector several times as it is: they gain only where the map is far.
  const bool is_near = in.size() < (pointwise ? kLargeMap : 2 * kLargeMap);
  const bool is_last = next_tile && (tile + 1) % pieces == 0;
  if (is_near || is_last || conv.groups > 1) return fetch;
  const Piece& piece = packed.pieces.list.data[(next_tile ? tile + 1 : tile) % pieces];
  const int first = next_tile ? 0 : (block + 1) * channels;
  const PieceWork work = work_of(packed.problem, piece, static_cast<int>(tile / pieces), op.in, op.out, {});
  fetch.panel = work.in + first * in.channel_stride() - conv.pad_top * in.row_stride() -
                std::ptrdiff_t{conv.pad_left} * in.lanes;
  fetch.channels = std::min(channels, in.channels - first);
  fetch.rows = (piece.rows - 1) * conv.stride_h + (conv.kernel_h - 1) * conv.dilation_h + 1;
  fetch.columns = (piece.columns - 1) * conv.stride_w + (conv.kernel_w - 1) * conv.dilation_w + 1;
  fetch.row_stride = in.row_stride();
  fetch.is_small = pointwise;
  return fetch;
}

// One piece, all blocks of input channels, and the strips first .. last-1 of output channels. `is_first`: nobody has
// read these nonzeros yet.
inline void sparse_strips(const SparseConv& op, const Ending& ending, std::int64_t tile, Range strips,
                          bool is_first) noexcept {
  const PackedSparseConv& packed = *op.packed;
  const auto pieces = static_cast<std::int64_t>(packed.pieces.list.size);
  const int image = static_cast<int>(tile / pieces);
  const Piece& piece = packed.pieces.list.data[tile % pieces];
  const SparseKernel kernel = sparse_kernel_for(packed.problem.conv.stride_w, piece);
  PieceWork work = work_of(packed.problem, piece, image, op.in, op.out, ending);
  for (int block = 0; block < packed.channel_blocks; ++block) {
    work.first = block == 0;
    work.last = block == packed.channel_blocks - 1;
    Fetch fetch = fetch_of(op, tile, block);
    fetch.entries = is_first;
    for (std::int64_t strip = strips.first; strip < strips.last; ++strip) {
      const SparseRun& run = packed.runs.data[block * packed.strips + strip];
      const SparseRows rows{packed.rows.data + run.first_row, packed.rows.data + run.last_row,
                            packed.entries.data + run.first_entry};
      kernel(work, rows, fetch);
      fetch.channels = 0;
      if (work.last && ending.later)
        for (const SparseRow* row = rows.first; row != rows.last; ++row)
          finish_later(ending, piece, work, image, row->channel);
    }
  }
}

// Parts share (image, piece, strip), in this order.
inline void sparse_conv(const SparseConv& op, Part part) noexcept {
  const PackedSparseConv& packed = *op.packed;
  const Ending ending = ending_of(op.epilogue, packed.pieces.flat);
  const Range mine = share_pieces(packed.pieces, packed.problem.out.tile_n, packed.strips, part);
  for_each_run(mine, packed.strips, [&](std::int64_t tile, Range strips) noexcept {
    sparse_strips(op, ending, tile, strips, tile == mine.first / packed.strips);
  });
}

}  // namespace featherweight::FW_ISA
