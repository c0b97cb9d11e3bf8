// See depthwise.h.

#include "kernels/conv/depthwise.h"
#include "kernels/conv/sparse.inl"

namespace featherweight::FW_ISA {

inline void depthwise_channel(const DepthwiseConv& op, const Ending& ending, int image, std::int64_t channel) noexcept {
  const PackedDepthwiseConv& packed = *op.packed;
  const SparseRow* row = packed.rows.data + channel;
  const SparseRows rows{row, row + 1, packed.entries.data + packed.first_entry.data[channel]};
  for (std::size_t i = 0; i < packed.pieces.list.size; ++i) {
    const Piece& piece = packed.pieces.list.data[i];
    const PieceWork work = work_of(packed.problem, piece, image, op.in, op.out, ending);
    sparse_kernel_for(packed.problem.conv.stride_w, piece)(work, rows);
    if (ending.later) finish_later(ending, piece, work, image, row->channel);
  }
}

inline void depthwise_conv(const DepthwiseConv& op, Part part) noexcept {
  const LaneShape& out = op.packed->problem.out;
  const Ending ending = ending_of(op.epilogue, op.packed->pieces.flat);
  const Range channels = share(std::int64_t{out.tile_n} * out.channels, part);
  for (std::int64_t i = channels.first; i < channels.last; ++i)
    depthwise_channel(op, ending, static_cast<int>(i / out.channels), i % out.channels);
}

}  // namespace featherweight::FW_ISA
