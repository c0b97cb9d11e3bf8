// Convolutions and pooling of plain arrays, for what lanes do not cover: right, and fast enough to be rare.
#include <algorithm>
#include <limits>

#include "kernels/part.h"
#include "kernels/plain/finish.h"
#include "kernels/plain/plain.h"

namespace featherweight::plain {
namespace {

std::int64_t ceil_divide(std::int64_t a, std::int64_t b) noexcept { return a >= 0 ? (a + b - 1) / b : -(-a / b); }

// The x of 0 .. size-1 for which x * stride + offset is in 0 .. limit-1.
Range valid(std::int64_t offset, std::int64_t stride, std::int64_t size, std::int64_t limit) noexcept {
  const std::int64_t first = std::clamp<std::int64_t>(ceil_divide(-offset, stride), 0, size);
  return {first, std::clamp<std::int64_t>(ceil_divide(limit - offset, stride), first, size)};
}

void add_row(const float* in, std::int64_t in_step, float weight, float* out, std::int64_t size) noexcept {
  if (in_step == 1) {
    for (std::int64_t x = 0; x < size; ++x) out[x] += weight * in[x];
  } else {
    for (std::int64_t x = 0; x < size; ++x) out[x] += weight * in[x * in_step];
  }
}

// Adds one input plane's part of an output row. weight: kernel_h * kernel_w of them.
void add_plane(const Conv& work, const float* in, const float* weight, std::int64_t y, float* out) noexcept {
  const ConvShape& c = work.conv;
  const Picture& size = work.in_size;
  for (int ky = 0; ky < c.kernel_h; ++ky) {
    const std::int64_t row = y * c.stride_h - c.pad_top + std::int64_t{ky} * c.dilation_h;
    if (row < 0 || row >= size.height) continue;
    for (int kx = 0; kx < c.kernel_w; ++kx) {
      const std::int64_t offset = std::int64_t{kx} * c.dilation_w - c.pad_left;
      const Range columns = valid(offset, c.stride_w, work.out_size.width, size.width);
      add_row(in + row * size.width + columns.first * c.stride_w + offset, c.stride_w,
              weight[ky * c.kernel_w + kx], out + columns.first, columns.last - columns.first);
    }
  }
}

void conv_row(const Conv& work, std::int64_t n, std::int64_t m, std::int64_t y) noexcept {
  const Picture &from = work.in_size, &to = work.out_size;
  const std::int64_t width = to.width, depth = from.channels / work.conv.groups;
  const std::int64_t group = m / (to.channels / work.conv.groups);
  const std::int64_t at = ((n * to.channels + m) * to.height + y) * width;
  const std::int64_t taps = std::int64_t{work.conv.kernel_h} * work.conv.kernel_w;
  float* out = work.out + at;
  const float bias = work.bias != nullptr ? work.bias[m] : 0.0f;
  for (std::int64_t x = 0; x < width; ++x) out[x] = bias + (work.residual != nullptr ? work.residual[at + x] : 0.0f);
  for (std::int64_t c = 0; c < depth; ++c) {
    const float* in = work.in + (n * from.channels + group * depth + c) * from.height * from.width;
    add_plane(work, in, work.weight + (m * depth + c) * taps, y, out);
  }
  finish(work.finish, out, width);
}

// A pooling window clipped to the picture, along one axis.
struct Window {
  std::int64_t first, last, step;  // last is not in it
  std::int64_t padded;             // how many there would be of the padded picture
};

Window window_at(std::int64_t begin, int kernel, int dilation, std::int64_t size, std::int64_t padded_end) noexcept {
  const std::int64_t first = begin < 0 ? begin + ceil_divide(-begin, dilation) * dilation : begin;
  const std::int64_t end = begin + std::int64_t{kernel - 1} * dilation + 1;
  return {first, std::min(end, size), dilation, std::min(end, padded_end) - begin};
}

float pool_window(PoolKind kind, const float* plane, std::int64_t width, const Window& rows, const Window& columns,
                  std::int64_t divisor) noexcept {
  float most = -std::numeric_limits<float>::infinity(), sum = 0.0f;
  for (std::int64_t y = rows.first; y < rows.last; y += rows.step)
    for (std::int64_t x = columns.first; x < columns.last; x += columns.step) {
      const float value = plane[y * width + x];
      most = most < value ? value : most;
      sum += value;
    }
  if (kind == PoolKind::kMax) return most;
  return divisor > 0 ? sum / static_cast<float>(divisor) : 0.0f;
}

std::int64_t at_least_none(std::int64_t count) noexcept { return count > 0 ? count : 0; }

}  // namespace

void conv(const Conv& work, Part part) noexcept {
  const std::int64_t height = work.out_size.height, channels = work.out_size.channels;
  const Range rows = share(work.batch * channels * height, part);
  for (std::int64_t i = rows.first; i < rows.last; ++i)
    conv_row(work, i / (height * channels), i / height % channels, i % height);
}

void pool(const Pool& work, Part part) noexcept {
  const ConvShape& c = work.window;
  const Picture &from = work.in_size, &to = work.out_size;
  const Range rows_of_all = share(work.batch * to.channels * to.height, part);
  for (std::int64_t i = rows_of_all.first; i < rows_of_all.last; ++i) {
    const float* plane = work.in + i / to.height * from.height * from.width;
    const Window rows = window_at(i % to.height * c.stride_h - c.pad_top, c.kernel_h, c.dilation_h, from.height,
                                  from.height + work.pad_bottom);
    for (std::int64_t x = 0; x < to.width; ++x) {
      const Window columns = window_at(x * c.stride_w - c.pad_left, c.kernel_w, c.dilation_w, from.width,
                                       from.width + work.pad_right);
      const std::int64_t divisor =
          work.count_pads ? at_least_none(rows.padded) * at_least_none(columns.padded)
                          : at_least_none(rows.last - rows.first) * at_least_none(columns.last - columns.first);
      work.out[i * to.width + x] = pool_window(work.kind, plane, from.width, rows, columns, divisor);
    }
  }
}

}  // namespace featherweight::plain
