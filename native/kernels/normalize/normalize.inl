// normalize in lanes: over the channels of each pixel.
//
//   out[c] = (in[c] - mean) / sqrt(mean of (in[c] - mean)^2 + epsilon)
//
// Some neighbouring pixels at once, in three passes over their channels: what they read stays in the nearest caches.

#include "kernels/elementwise/rows.h"

namespace featherweight::FW_ISA {

// Pixels of all channels: pointers to the first channel, and distances to the next.
struct PixelColumns {
  const float* in;
  std::ptrdiff_t in_stride;
  float* out;
  std::ptrdiff_t out_stride;
  int channels;
};

template <int kPixels>
FW_INLINE void normalize_pixels(const PixelColumns& at, float epsilon) noexcept {
  const Vec share = broadcast(1.0f / static_cast<float>(at.channels));
  Vec mean[kPixels], scale[kPixels];
  FW_UNROLL for (int i = 0; i < kPixels; ++i) mean[i] = scale[i] = broadcast(0.0f);
  const float* in = at.in;
  for (int c = 0; c < at.channels; ++c, in += at.in_stride)
    FW_UNROLL for (int i = 0; i < kPixels; ++i) mean[i] = mean[i] + load(in + i * Vec::kLanes);
  FW_UNROLL for (int i = 0; i < kPixels; ++i) mean[i] = mean[i] * share;
  in = at.in;
  for (int c = 0; c < at.channels; ++c, in += at.in_stride)
    FW_UNROLL for (int i = 0; i < kPixels; ++i) {
      const Vec apart = load(in + i * Vec::kLanes) - mean[i];
      scale[i] = fma(apart, apart, scale[i]);
    }
  FW_UNROLL for (int i = 0; i < kPixels; ++i)
    scale[i] = broadcast(1.0f) / sqrt(fma(scale[i], share, broadcast(epsilon)));
  in = at.in;
  float* out = at.out;
  for (int c = 0; c < at.channels; ++c, in += at.in_stride, out += at.out_stride)
    FW_UNROLL for (int i = 0; i < kPixels; ++i)
      store(out + i * Vec::kLanes, (load(in + i * Vec::kLanes) - mean[i]) * scale[i]);
}

inline void lane_normalize(const LaneNormalize& op, Part part) noexcept {
  constexpr int kAtOnce = 4;
  const LaneShape &from = *op.in.shape, &to = *op.out.shape;
  const RowShape rows = row_shape(to, has_gaps(from) || has_gaps(to));
  const Range shared = share(std::int64_t{to.tile_n} * rows.rows * rows.vectors, part);
  for_each_run(shared, rows.vectors, [&](std::int64_t row, Range pixels) noexcept {
    const Plane first{static_cast<int>(row / rows.rows), 0};
    const std::int64_t y = row % rows.rows;
    PixelColumns at{op.in.data + first_pixel(from, first) + y * from.row_stride() + pixels.first * Vec::kLanes,
                    from.channel_stride(),
                    op.out.data + first_pixel(to, first) + y * to.row_stride() + pixels.first * Vec::kLanes,
                    to.channel_stride(), to.channels};
    std::int64_t left = pixels.last - pixels.first;
    for (; left >= kAtOnce; left -= kAtOnce, at.in += kAtOnce * Vec::kLanes, at.out += kAtOnce * Vec::kLanes)
      normalize_pixels<kAtOnce>(at, op.epsilon);
    for (; left > 0; --left, at.in += Vec::kLanes, at.out += Vec::kLanes) normalize_pixels<1>(at, op.epsilon);
  });
}

}  // namespace featherweight::FW_ISA
