// Memory that will be needed soon is asked for ahead: weights and maps of a network come from the third cache or from
// beyond, and the processor itself follows streams within a page at most. Included by what is compiled for one
// instruction set.
#pragma once

#include "kernels/conv/register_tile.h"
#include "kernels/conv/sparse.h"

namespace featherweight::FW_ISA {

// What a sparse kernel asks for beside its work.
struct Fetch {
  bool entries = false;  // nobody has read these nonzeros yet
  bool sums = false;     // the map where sums lie is large
  // What the next block of input channels, or the next piece, reads: so many rows of vectors of each channel.
  const float* panel = nullptr;
  int channels = 0, rows = 0, columns = 0;
  std::ptrdiff_t row_stride = 0;
  bool is_small = false;  // as much as the first cache holds
};

constexpr int kEntriesOfLine = 64 / sizeof(SparseEntry);
constexpr int kEntriesFetched = 256, kRowsFetched = 12;  // how far ahead
constexpr std::ptrdiff_t kLargeMap = std::ptrdiff_t{1} << 17;  // floats: half of a second cache

template <int R, int C>
FW_INLINE void fetch_tile(const float* from, std::ptrdiff_t row) noexcept {
  FW_UNROLL for (int i = 0; i < R; ++i)
    FW_UNROLL for (int j = 0; j < C; ++j) prefetch(from + i * row + j * Vec::kLanes);
}

// Where the sums of a row begin and end.
template <int R, int C>
FW_INLINE void fetch_row(const PieceWork& work, std::ptrdiff_t channel) noexcept {
  fetch_tile<R, C>(work.out + channel * work.out_steps.channel, work.out_steps.row);
  if (work.residual != nullptr && work.residual != work.out)
    fetch_tile<R, C>(work.residual + channel * work.residual_steps.channel, work.residual_steps.row);
}

FW_INLINE void fetch_channel(const Fetch& fetch, const float* first) noexcept {
  for (int i = 0; i < fetch.rows; ++i, first += fetch.row_stride)
    for (const float* p = first; p != first + std::ptrdiff_t{fetch.columns} * Vec::kLanes; p += Vec::kLanes)
      fetch.is_small ? prefetch(p) : prefetch_second(p);
}

FW_INLINE void fetch_entries(const SparseEntry* first, std::ptrdiff_t count) noexcept {
  for (std::ptrdiff_t i = 0; i < count; i += kEntriesOfLine) prefetch(first + kEntriesFetched + i);
}

}  // namespace featherweight::FW_ISA
