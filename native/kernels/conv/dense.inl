// See dense.h.

#include "kernels/conv/dense.h"
#include "kernels/conv/register_tile.h"

namespace featherweight::FW_ISA {

// A panel of weights: of one block of output channels and one of input channels.
struct DensePanel {
  const float* weights = nullptr;
  const std::int32_t* offsets = nullptr;
  std::int64_t columns = 0;  // (channel, tap)s
  int channel = 0, size = 0;
};

// Sums of a block are added to those of the blocks before; the last finishes them.
template <int R, int C>
FW_INLINE void finish_dense(Vec (&sums)[R][C], const PieceWork& work, std::ptrdiff_t channel) noexcept {
  const Vec bias = broadcast(work.last && work.bias != nullptr ? work.bias[channel] : 0.0f);
  const Vec low = broadcast(work.low), high = broadcast(work.high);
  float* out = work.out + channel * work.out_steps.channel;
  const float* residual = work.last && work.residual != nullptr
                              ? work.residual + channel * work.residual_steps.channel
                              : nullptr;
  FW_UNROLL for (int i = 0; i < R; ++i)
    FW_UNROLL for (int j = 0; j < C; ++j) {
      float* to = out + i * work.out_steps.row + j * Vec::kLanes;
      Vec x = sums[i][j] + bias;
      if (!work.first) x = x + load(to);
      if (residual != nullptr) x = x + load(residual + i * work.residual_steps.row + j * Vec::kLanes);
      store(to, work.last ? clamp(x, low, high) : x);
    }
}

template <int R, int C, int S, int M>
void dense_piece(const PieceWork& given, const DensePanel& panel) noexcept {
  const PieceWork work = given;
  const std::ptrdiff_t step = S != 0 ? std::ptrdiff_t{S} * Vec::kLanes : work.in_steps.column;
  Vec sums[M][R][C];
  FW_UNROLL for (int m = 0; m < M; ++m)
    FW_UNROLL for (int i = 0; i < R; ++i) FW_UNROLL for (int j = 0; j < C; ++j) sums[m][i][j] = broadcast(0.0f);
  const float* weights = panel.weights;
  std::ptrdiff_t offset = panel.offsets[0], next = panel.offsets[1];  // read ahead, as sparse.inl says
  for (std::int64_t column = 0; column < panel.columns; ++column, weights += M) {
    const float* in = work.in + offset;
    offset = next;
    next = panel.offsets[column + kOffsetsAhead];
    Vec weight[M];
    FW_UNROLL for (int m = 0; m < M; ++m) weight[m] = broadcast(weights[m]);
    FW_UNROLL for (int i = 0; i < R; ++i)
      FW_UNROLL for (int j = 0; j < C; ++j) {
        const Vec x = in_register(load(in + i * work.in_steps.row + j * step));
        FW_UNROLL for (int m = 0; m < M; ++m) sums[m][i][j] = fma(weight[m], x, sums[m][i][j]);
      }
  }
  FW_UNROLL for (int m = 0; m < M; ++m) {
    if (m >= panel.size) break;
    finish_dense(sums[m], work, panel.channel + m);
  }
}

using DenseKernel = void (*)(const PieceWork&, const DensePanel&) noexcept;

template <int S, int R, int C, int M>
constexpr DenseKernel dense_kernel() noexcept {
  if constexpr (has_tile(Vec::kLanes, S == 0 ? 3 : S, R, C) && has_dense_tile(Vec::kLanes, R * C, M))
    return &dense_piece<R, C, S, M>;
  return nullptr;
}

constexpr int kDenseSide = 8, kDenseWidths = 6;

struct DenseKernels {
  DenseKernel at[kDenseSide * kDenseSide * kDenseWidths];
};
template <int S, int... I>
constexpr DenseKernels dense_kernels(std::integer_sequence<int, I...>) noexcept {
  return {{dense_kernel<S, I / kDenseWidths / kDenseSide + 1, I / kDenseWidths % kDenseSide + 1,
                        I % kDenseWidths + 1>()...}};
}
using DenseIndices = std::make_integer_sequence<int, kDenseSide * kDenseSide * kDenseWidths>;
constexpr DenseKernels kDenseKernels[3] = {dense_kernels<0>(DenseIndices{}), dense_kernels<1>(DenseIndices{}),
                                           dense_kernels<2>(DenseIndices{})};

FW_INLINE DenseKernel dense_kernel_for(int stride, const Piece& piece, int width) noexcept {
  return kDenseKernels[stride > 2 ? 0 : stride]
      .at[((piece.rows - 1) * kDenseSide + piece.columns - 1) * kDenseWidths + width - 1];
}

// Asks for the memory of the outputs of a block: worth it where the map is larger than caches share out.
constexpr std::ptrdiff_t kFarMap = std::ptrdiff_t{1} << 21;  // floats

inline void fetch_block(const PieceWork& work, const Piece& piece, const DenseBlock& block) noexcept {
  for (int channel = block.channel; channel < block.channel + block.size; ++channel)
    for (int i = 0; i < piece.rows; ++i) {
      const float* out = work.out + channel * work.out_steps.channel + i * work.out_steps.row;
      for (int j = 0; j < piece.columns; ++j) prefetch(out + std::ptrdiff_t{j} * Vec::kLanes);
    }
}

// One piece, and the blocks first .. last-1 of output channels.
inline void dense_blocks(const DenseConv& op, const Ending& ending, std::int64_t tile, Range blocks) noexcept {
  const PackedDenseConv& packed = *op.packed;
  const auto pieces = static_cast<std::int64_t>(packed.pieces.list.size);
  const int image = static_cast<int>(tile / pieces);
  const Piece& piece = packed.pieces.list.data[tile % pieces];
  const DenseKernel kernel = dense_kernel_for(packed.problem.conv.stride_w, piece, packed.width);
  const PieceWork all = work_of(packed.problem, piece, image, op.in, op.out, ending);
  const std::int64_t columns = std::int64_t{packed.group_channels} * packed.taps;
  const std::int64_t of_block = std::int64_t{packed.blocks.channels} * packed.taps;
  const auto out_blocks = static_cast<std::int64_t>(packed.out_blocks.size);
  const bool is_far = packed.problem.out.size() > kFarMap;
  for (std::int64_t first = 0; first < columns; first += of_block) {
    const bool last = first + of_block >= columns;
    DensePanel panel;
    panel.columns = last ? columns - first : of_block;
    panel.offsets = packed.offsets.data + first;
    for (std::int64_t i = blocks.first; i < blocks.last; ++i) {
      const DenseBlock& block = packed.out_blocks.data[i];
      panel.weights = packed.weights.data + (first * out_blocks + i * panel.columns) * packed.width;
      panel.channel = block.channel;
      panel.size = block.size;
      PieceWork work = all;
      work.in += block.in_offset;
      work.first = first == 0;
      work.last = last;
      if (is_far) fetch_block(work, piece, block);
      kernel(work, panel);
      if (!last) continue;
      for (int channel = 0; ending.later && channel < block.size; ++channel)
        finish_later(ending, piece, work, image, block.channel + channel);
    }
  }
}

// Parts share (image, piece, block of output channels), in this order.
inline void dense_conv(const DenseConv& op, Part part) noexcept {
  const PackedDenseConv& packed = *op.packed;
  const Ending ending = ending_of(op.epilogue, packed.pieces.flat);
  const auto blocks = static_cast<std::int64_t>(packed.out_blocks.size);
  for_each_run(share_pieces(packed.pieces, packed.problem.out.tile_n, blocks, part), blocks,
               [&](std::int64_t tile, Range of_tile) noexcept { dense_blocks(op, ending, tile, of_tile); });
}

}  // namespace featherweight::FW_ISA
