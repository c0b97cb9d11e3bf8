// The sums of a register tile: where they wait between blocks of input channels, and what is done to them at last.
// Included by what is compiled for one instruction set.
#pragma once

#include "kernels/conv/tiles.h"
#include "kernels/elementwise/activation.h"
#include "kernels/vec.h"

namespace featherweight::FW_ISA {

// Distances, in floats, from a position of a piece to the next.
struct Steps {
  std::ptrdiff_t row = 0, column = 0, channel = 0;
};

FW_INLINE Steps steps_of(const LaneShape& s) noexcept { return {s.row_stride(), s.lanes, s.channel_stride()}; }

// What a piece of some output channels needs beside its weights. Pointers are to its first position, in channel 0.
struct PieceWork {
  const float* in = nullptr;
  Steps in_steps;  // from one position's window to the next: strides are in them
  float* out = nullptr;
  Steps out_steps;
  const float* bias = nullptr;
  const float* residual = nullptr;  // null: none, or added later
  Steps residual_steps;
  float low = 0.0f, high = 0.0f;    // the clamp at the end
  bool first = true, last = true;   // block of input channels
};

template <int R, int C>
struct Sums {
  Vec at[R][C];
};

template <int R, int C>
FW_INLINE void clear(Sums<R, C>& sums) noexcept {
  FW_UNROLL for (int i = 0; i < R; ++i) FW_UNROLL for (int j = 0; j < C; ++j) sums.at[i][j] = broadcast(0.0f);
}

template <int R, int C>
FW_INLINE void load_sums(Sums<R, C>& sums, const float* from, std::ptrdiff_t row) noexcept {
  FW_UNROLL for (int i = 0; i < R; ++i)
    FW_UNROLL for (int j = 0; j < C; ++j) sums.at[i][j] = load(from + i * row + j * Vec::kLanes);
}

// The residual is where sums begin: so that the output may lie in its memory.
template <int R, int C>
FW_INLINE void resume(Sums<R, C>& sums, const PieceWork& work, std::ptrdiff_t channel) noexcept {
  if (!work.first) return load_sums(sums, work.out + channel * work.out_steps.channel, work.out_steps.row);
  if (work.residual == nullptr) return clear(sums);
  load_sums(sums, work.residual + channel * work.residual_steps.channel, work.residual_steps.row);
}

template <int R, int C>
FW_INLINE void finish(Sums<R, C>& sums, const PieceWork& work, std::ptrdiff_t channel) noexcept {
  if (work.bias != nullptr) {
    const Vec bias = broadcast(work.bias[channel]);
    FW_UNROLL for (int i = 0; i < R; ++i) FW_UNROLL for (int j = 0; j < C; ++j) sums.at[i][j] = sums.at[i][j] + bias;
  }
  const Vec low = broadcast(work.low), high = broadcast(work.high);
  FW_UNROLL for (int i = 0; i < R; ++i)
    FW_UNROLL for (int j = 0; j < C; ++j) sums.at[i][j] = clamp(sums.at[i][j], low, high);
}

// To the output map: finished after the last block.
template <int R, int C>
FW_INLINE void write(Sums<R, C>& sums, const PieceWork& work, std::ptrdiff_t channel) noexcept {
  if (work.last) finish(sums, work, channel);
  float* out = work.out + channel * work.out_steps.channel;
  FW_UNROLL for (int i = 0; i < R; ++i)
    FW_UNROLL for (int j = 0; j < C; ++j) store(out + i * work.out_steps.row + j * Vec::kLanes, sums.at[i][j]);
}

// The epilogue as pieces can do it, and what is left for `finish_later`: activations that are not a clamp, and a
// residual with a halo where the output is one long row.
struct Ending {
  Epilogue epilogue;
  Clamp bounds;
  bool residual_later = false;
  bool later = false;
};

FW_INLINE Ending ending_of(const Epilogue& epilogue, bool flat) noexcept {
  Ending ending;
  ending.epilogue = epilogue;
  const LaneShape* residual = epilogue.residual.data != nullptr ? epilogue.residual.shape : nullptr;
  ending.residual_later = flat && residual != nullptr && residual->halo.left + residual->halo.right != 0;
  ending.bounds = clamp_of(epilogue.activation);
  ending.later = ending.residual_later || !ending.bounds.is_clamp;
  if (ending.later) ending.bounds = clamp_of(Activation{});
  return ending;
}

// The work of a piece of one image, without a block.
FW_INLINE PieceWork work_of(const ConvProblem& problem, const Piece& piece, int image, const float* in,
                            float* out, const Ending& ending) noexcept {
  const auto place = [&](const LaneShape& s, int stride_h, int stride_w) {
    const std::ptrdiff_t pixels = std::ptrdiff_t{piece.column} * stride_w * s.lanes;
    return image * s.image_stride() + s.offset(piece.row * stride_h, 0) + pixels;
  };
  const ConvShape& conv = problem.conv;
  PieceWork work;
  work.in = in + place(problem.in, conv.stride_h, conv.stride_w);
  work.in_steps = steps_of(problem.in);
  work.in_steps.row *= conv.stride_h;
  work.in_steps.column *= conv.stride_w;
  work.out = out + place(problem.out, 1, 1);
  work.out_steps = steps_of(problem.out);
  work.bias = ending.epilogue.bias;
  if (ending.epilogue.residual.data != nullptr && !ending.residual_later) {
    work.residual = ending.epilogue.residual.data + place(*ending.epilogue.residual.shape, 1, 1);
    work.residual_steps = steps_of(*ending.epilogue.residual.shape);
  }
  work.low = ending.bounds.low;
  work.high = ending.bounds.high;
  return work;
}

// What `ending` left of one output channel of a piece.
inline void finish_later(const Ending& ending, const Piece& piece, const PieceWork& work, int image,
                         std::ptrdiff_t channel) noexcept {
  const ConstLaneView& residual = ending.epilogue.residual;
  for (int i = 0; i < piece.rows; ++i) {
    float* out = work.out + channel * work.out_steps.channel + i * work.out_steps.row;
    for (int j = 0; ending.residual_later && j < piece.columns; ++j) {
      const int pixel = piece.column + j;  // of the long row
      const LaneShape& s = *residual.shape;
      const float* from = residual.data + image * s.image_stride() + channel * s.channel_stride() +
                          s.offset(pixel / s.tile_w, pixel % s.tile_w);
      float* to = out + std::ptrdiff_t{j} * Vec::kLanes;
      store(to, load(to) + load(from));
    }
    activate_row(ending.epilogue.activation, out, piece.columns);
  }
}

}  // namespace featherweight::FW_ISA
