// See depthwise.h.

#include "kernels/conv/depthwise.h"
#include "kernels/conv/sparse.inl"
#include "kernels/elementwise/rows.h"

namespace featherweight::FW_ISA {

// act of the inner pixels of one channel.
inline void activate_plane(const Activation& activation, float* out, const LaneShape& s, Plane plane) noexcept {
  const RowShape rows = row_shape(s, has_gaps(s));
  for (int row = 0; row < rows.rows; ++row)
    activate_row(activation, out + first_pixel(s, plane) + row * s.row_stride(), rows.vectors);
}

inline void depthwise_channels(const DepthwiseConv& op, const Ending& ending, int image, Range channels) noexcept {
  const PackedDepthwiseConv& packed = *op.packed;
  const SparseRows rows{packed.rows.data + channels.first, packed.rows.data + channels.last,
                        packed.entries.data + packed.first_entry.data[channels.first]};
  for (std::size_t i = 0; i < packed.pieces.list.size; ++i) {
    const Piece& piece = packed.pieces.list.data[i];
    const PieceWork work = work_of(packed.problem, piece, image, op.in, op.out, ending);
    sparse_kernel_for(packed.problem.conv.stride_w, piece)(work, rows, Fetch{});
    for (std::int64_t channel = channels.first; ending.residual_later && channel < channels.last; ++channel)
      finish_later(ending, piece, work, image, channel);
  }
  if (!ending.later || ending.residual_later) return;
  for (std::int64_t channel = channels.first; channel < channels.last; ++channel)
    activate_plane(ending.epilogue.activation, op.out, packed.problem.out, {image, static_cast<int>(channel)});
}

inline void depthwise_conv(const DepthwiseConv& op, Part part) noexcept {
  const LaneShape& out = op.packed->problem.out;
  const Ending ending = ending_of(op.epilogue, op.packed->pieces.flat);
  const std::int64_t together = op.packed->blocks.channels;
  for_each_run(share(std::int64_t{out.tile_n} * out.channels, part), out.channels,
               [&](std::int64_t image, Range channels) noexcept {
                 for (std::int64_t first = channels.first; first < channels.last; first += together) {
                   const std::int64_t last = first + together < channels.last ? first + together : channels.last;
                   depthwise_channels(op, ending, static_cast<int>(image), {first, last});
                 }
               });
}

}  // namespace featherweight::FW_ISA
