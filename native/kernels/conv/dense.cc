#include "kernels/conv/dense.h"

#include <algorithm>

#include "kernels/conv/taps.h"

namespace featherweight {
namespace {

constexpr std::int64_t kFirstCache = 32 * 1024;  // of it, what a block of input channels may fill
constexpr int kFewestSums = 64;                  // (channel, tap)s of a block: each block moves all sums once

int divide_up(int a, int b) { return (a + b - 1) / b; }

struct DensePacker {
  const DenseWeights& weights;
  PackedDenseConv& packed;

  int group_out() const { return packed.problem.out.channels / packed.problem.conv.groups; }

  void choose_blocks(Blocks wanted) {
    const ConvProblem& p = packed.problem;
    const int most = most_dense_positions(p.out.lanes);
    // Measured: 6 times 4 sums of 32 registers, 4 times 3 of 16.
    const int positions = wanted.positions > 0 ? std::min(wanted.positions, most) : p.out.lanes == 16 ? 6 : 4;
    packed.pieces = cut_into_pieces(p, positions);
    packed.width = 2;
    for (int width : {3, 4, 6})
      if (has_dense_tile(p.out.lanes, packed.pieces.largest, width)) packed.width = width;
    packed.group_channels = p.in.channels / p.conv.groups;
    packed.taps = p.conv.kernel_h * p.conv.kernel_w;
    const int channels = wanted.channels > 0 ? wanted.channels : channels_of_a_block();
    packed.channel_blocks = divide_up(packed.group_channels, std::max(1, channels));
    packed.blocks = {packed.pieces.largest, divide_up(packed.group_channels, packed.channel_blocks)};
    packed.channel_blocks = divide_up(packed.group_channels, packed.blocks.channels);
  }

  int channels_of_a_block() const {
    const ConvProblem& p = packed.problem;
    const Piece& piece = packed.pieces.list.data[0];
    const std::int64_t bytes = std::int64_t{4} * p.in.lanes * vectors_read(p.conv, piece.rows, piece.columns);
    const auto fitting = static_cast<int>(kFirstCache / std::max<std::int64_t>(1, bytes));
    return std::max(fitting, divide_up(kFewestSums, packed.taps));
  }

  void list_out_blocks() {
    const ConvProblem& p = packed.problem;
    AlignedVector<DenseBlock> blocks;
    for (int group = 0; group < p.conv.groups; ++group)
      for (int first = 0; first < group_out(); first += packed.width)
        blocks.push_back({group * group_out() + first, std::min(packed.width, group_out() - first),
                          group * packed.group_channels * p.in.channel_stride()});
    packed.out_blocks = Array<DenseBlock>(std::move(blocks));
  }

  void list_offsets() {
    AlignedVector<std::int32_t> offsets;
    for (int channel = 0; channel < packed.group_channels; ++channel)
      for (int tap = 0; tap < packed.taps; ++tap) offsets.push_back(offset_of(packed.problem, channel, tap));
    offsets.resize(offsets.size() + kOffsetsAhead);
    packed.offsets = Array<std::int32_t>(std::move(offsets));
  }

  void pack_weights() {
    AlignedVector<float> panels;
    const int columns = packed.group_channels * packed.taps, of_block = packed.blocks.channels * packed.taps;
    panels.reserve(packed.out_blocks.size * static_cast<std::size_t>(packed.width) * static_cast<std::size_t>(columns));
    for (int first = 0; first < columns; first += of_block)
      for (std::size_t block = 0; block < packed.out_blocks.size; ++block) {
        const DenseBlock& out = packed.out_blocks.data[block];
        for (int column = first; column < std::min(columns, first + of_block); ++column)
          for (int i = 0; i < packed.width; ++i)
            panels.push_back(i < out.size ? weights.values[std::ptrdiff_t{out.channel + i} * columns + column] : 0.0f);
      }
    packed.weights = Array<float>(std::move(panels));
  }
};

}  // namespace

PackedDenseConv pack_dense_conv(const DenseWeights& weights, const ConvProblem& problem, Blocks blocks) {
  PackedDenseConv packed;
  packed.problem = problem;
  DensePacker packer{weights, packed};
  packer.choose_blocks(blocks);
  packer.list_out_blocks();
  packer.list_offsets();
  packer.pack_weights();
  return packed;
}

}  // namespace featherweight
