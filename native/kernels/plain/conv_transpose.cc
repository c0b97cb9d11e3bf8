// The transposed convolution, as a product and a scattering.
//
//   columns (M * taps, pixels) = weight (M * taps, C) * in (C, pixels)
//   out[m, iy * stride - pad + ky * dilation, ix * ...] += columns[(m, ky, kx), (iy, ix)]
//
// The product is done for a few channels and pixels at a time, on the stack. Sums of a pixel are made in an order that
// does not depend on the part: pixel blocks, then taps.
#include <algorithm>

#include "kernels/part.h"
#include "kernels/plain/finish.h"
#include "kernels/plain/plain.h"

namespace featherweight::plain {
namespace {

constexpr std::int64_t kRows = 64, kPixels = 128;  // 32 KB

// Rows of `columns` and pixels that are done together, of one image.
struct Block {
  std::int64_t image, row, rows, pixel, pixels;  // row: of all M * taps
};

std::int64_t taps_of(const ConvTranspose& work) noexcept {
  return std::int64_t{work.conv.kernel_h} * work.conv.kernel_w;
}

void multiply(const ConvTranspose& work, const Block& block, float* columns) noexcept {
  const std::int64_t depth = work.in_size.channels / work.conv.groups;
  const std::int64_t group = block.row / (work.out_size.channels / work.conv.groups * taps_of(work));
  const std::int64_t plane = work.in_size.height * work.in_size.width;
  featherweight::MatMul product;
  product.a = work.packed->values.data() + block.row * work.packed->row;
  product.a_row = work.packed->row;
  product.b = work.in + (block.image * work.in_size.channels + group * depth) * plane + block.pixel;
  product.b_row = plane;
  product.out = columns;
  product.out_row = kPixels;
  product.rows = block.rows;
  product.depth = depth;
  product.columns = block.pixels;
  work.kernel(product, Part{});
}

// One row of `columns`: one tap of one channel.
void scatter_row(const ConvTranspose& work, const Block& block, std::int64_t tap, const float* columns,
                 float* plane) noexcept {
  const ConvShape& c = work.conv;
  const std::int64_t width = work.in_size.width;
  const std::int64_t down = tap / c.kernel_w * c.dilation_h - c.pad_top;
  const std::int64_t right = tap % c.kernel_w * c.dilation_w - c.pad_left;
  for (std::int64_t i = 0; i < block.pixels;) {
    const std::int64_t iy = (block.pixel + i) / width, ix = (block.pixel + i) % width;
    const std::int64_t count = std::min(width - ix, block.pixels - i);
    const std::int64_t y = iy * c.stride_h + down;
    if (y >= 0 && y < work.out_size.height) {
      float* row = plane + y * work.out_size.width;
      for (std::int64_t k = 0; k < count; ++k) {
        const std::int64_t x = (ix + k) * c.stride_w + right;
        if (x >= 0 && x < work.out_size.width) row[x] += columns[i + k];
      }
    }
    i += count;
  }
}

void add_block(const ConvTranspose& work, const Block& block) noexcept {
  alignas(64) float columns[kRows * kPixels];
  multiply(work, block, columns);
  const std::int64_t taps = taps_of(work), out_plane = work.out_size.height * work.out_size.width;
  for (std::int64_t r = 0; r < block.rows; ++r) {
    const std::int64_t channel = (block.row + r) / taps;
    float* plane = work.out + (block.image * work.out_size.channels + channel) * out_plane;
    scatter_row(work, block, (block.row + r) % taps, columns + r * kPixels, plane);
  }
}

// `channels` of one group and image; at most kRows of their taps at once.
void add_channels(const ConvTranspose& work, std::int64_t image, Range channels) noexcept {
  const std::int64_t taps = taps_of(work), pixels = work.in_size.height * work.in_size.width;
  const std::int64_t rows = (channels.last - channels.first) * taps;
  for (std::int64_t pixel = 0; pixel < pixels; pixel += kPixels)
    for (std::int64_t row = 0; row < rows; row += kRows)
      add_block(work, {image, channels.first * taps + row, std::min(kRows, rows - row), pixel,
                       std::min(kPixels, pixels - pixel)});
}

}  // namespace

PackedConvTranspose pack_conv_transpose(const DenseWeights& weight, int groups) {
  constexpr std::int64_t kLine = 16;
  const std::int64_t in_channels = weight.rows, group_rows = weight.columns;
  const std::int64_t depth = in_channels / groups;
  PackedConvTranspose packed;
  packed.row = ((depth + kLine - 1) / kLine | 1) * kLine;
  packed.values.assign(static_cast<std::size_t>(group_rows * groups * packed.row), 0.0f);
  for (std::int64_t c = 0; c < in_channels; ++c)
    for (std::int64_t r = 0; r < group_rows; ++r) {
      const std::int64_t row = c / depth * group_rows + r;
      packed.values[static_cast<std::size_t>(row * packed.row + c % depth)] = weight.values[c * group_rows + r];
    }
  return packed;
}

void conv_transpose(const ConvTranspose& work, Part part) noexcept {
  const std::int64_t channels = work.out_size.channels, out_plane = work.out_size.height * work.out_size.width;
  const std::int64_t in_group = channels / work.conv.groups;
  const std::int64_t at_once = std::max<std::int64_t>(1, kRows / taps_of(work));
  const Range all = share(work.batch * channels, part);
  for (std::int64_t i = all.first; i < all.last;) {
    const std::int64_t channel = i % channels;
    const std::int64_t count = std::min({at_once, in_group - channel % in_group, all.last - i});
    for (std::int64_t k = 0; k < count; ++k)
      std::fill_n(work.out + (i + k) * out_plane, out_plane, work.bias != nullptr ? work.bias[channel + k] : 0.0f);
    add_channels(work, i / channels, {channel, channel + count});
    finish(work.finish, work.out + i * out_plane, count * out_plane);
    i += count;
  }
}

}  // namespace featherweight::plain
