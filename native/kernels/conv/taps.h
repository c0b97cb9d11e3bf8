// Where a tap of a convolution reads.
#pragma once

#include "kernels/operations.h"

namespace featherweight {

// From the first pixel of a window without padding, in channel 0, to tap number `tap` in input channel `channel`.
inline std::int32_t offset_of(const ConvProblem& problem, int channel, int tap) noexcept {
  const ConvShape& conv = problem.conv;
  const int down = tap / conv.kernel_w * conv.dilation_h - conv.pad_top;
  const int across = tap % conv.kernel_w * conv.dilation_w - conv.pad_left;
  return static_cast<std::int32_t>(channel * problem.in.channel_stride() + down * problem.in.row_stride() +
                                   std::ptrdiff_t{across} * problem.in.lanes);
}

}  // namespace featherweight
