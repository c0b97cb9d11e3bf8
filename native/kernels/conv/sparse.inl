// See sparse.h.
#pragma once

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
void sparse_piece(const PieceWork& given, const SparseRows& rows) noexcept {
  constexpr int kTurns = turns_of(R * C);
  const PieceWork work = given;
  const SparseEntry* entry = rows.entries;
  Ahead ahead(entry);
  for (const SparseRow* row = rows.first; row != rows.last; ++row) {
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

using SparseKernel = void (*)(const PieceWork&, const SparseRows&) noexcept;

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

// One piece, all blocks of input channels, and the strips first .. last-1 of output channels.
inline void sparse_strips(const SparseConv& op, const Ending& ending, std::int64_t tile, Range strips) noexcept {
  const PackedSparseConv& packed = *op.packed;
  const auto pieces = static_cast<std::int64_t>(packed.pieces.list.size);
  const int image = static_cast<int>(tile / pieces);
  const Piece& piece = packed.pieces.list.data[tile % pieces];
  const SparseKernel kernel = sparse_kernel_for(packed.problem.conv.stride_w, piece);
  PieceWork work = work_of(packed.problem, piece, image, op.in, op.out, ending);
  for (int block = 0; block < packed.channel_blocks; ++block) {
    work.first = block == 0;
    work.last = block == packed.channel_blocks - 1;
    for (std::int64_t strip = strips.first; strip < strips.last; ++strip) {
      const SparseRun& run = packed.runs.data[block * packed.strips + strip];
      const SparseRows rows{packed.rows.data + run.first_row, packed.rows.data + run.last_row,
                            packed.entries.data + run.first_entry};
      kernel(work, rows);
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
  const auto pieces = static_cast<std::int64_t>(packed.pieces.list.size);
  const std::int64_t tiles = std::int64_t{packed.problem.out.tile_n} * pieces;
  for_each_run(share(tiles * packed.strips, part), packed.strips,
               [&](std::int64_t tile, Range strips) noexcept { sparse_strips(op, ending, tile, strips); });
}

}  // namespace featherweight::FW_ISA
