// Pooling by the book, of (N, C, H, W) arrays.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/operations.h"

namespace featherweight::naive {

// One output: its window begins at (top, left), which may lie outside of the picture.
inline float pool_at(const Pool& op, const float* plane, int top, int left) {
  const LaneShape& s = *op.in.shape;
  const ConvShape& w = op.window;
  float most = -INFINITY;
  double sum = 0.0;
  int inside = 0, padded = 0;
  for (int i = 0; i < w.kernel_h; ++i)
    for (int j = 0; j < w.kernel_w; ++j) {
      const int y = top + i * w.dilation_h, x = left + j * w.dilation_w;
      if (y < s.height + op.pad_bottom && x < s.width + op.pad_right) ++padded;
      if (y < 0 || y >= s.height || x < 0 || x >= s.width) continue;
      ++inside;
      most = std::max(most, plane[y * s.width + x]);
      sum += plane[y * s.width + x];
    }
  if (op.kind == PoolKind::kMax) return most;
  const int divisor = op.count_pads ? padded : inside;
  return divisor > 0 ? static_cast<float>(sum / divisor) : 0.0f;
}

// Of pictures with the sizes of op.in and op.out; their data is not looked at.
inline void pool(const Pool& op, const float* in, float* out) {
  const LaneShape &from = *op.in.shape, &to = *op.out.shape;
  for (int plane = 0; plane < to.batch * to.channels; ++plane, in += from.height * from.width)
    for (int y = 0; y < to.height; ++y)
      for (int x = 0; x < to.width; ++x)
        *out++ = pool_at(op, in, y * op.window.stride_h - op.window.pad_top,
                         x * op.window.stride_w - op.window.pad_left);
}

inline void global_pool(PoolKind kind, const LaneShape& s, const float* in, float* out) {
  const int size = s.height * s.width;
  for (int plane = 0; plane < s.batch * s.channels; ++plane, in += size) {
    float most = -INFINITY;
    double sum = 0.0;
    for (int i = 0; i < size; ++i) {
      most = std::max(most, in[i]);
      sum += in[i];
    }
    out[plane] = kind == PoolKind::kMax ? most : static_cast<float>(sum / size);
  }
}

}  // namespace featherweight::naive
