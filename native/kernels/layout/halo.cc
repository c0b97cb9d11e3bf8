#include "kernels/operations.h"

namespace featherweight {

// Output pixel i reads input pixels i * stride - pad + dilation * (0 .. kernel-1); the input tile has
// stride * (tile of the output) pixels.
namespace {

struct Sides {
  int before, after;
};

Sides sides(int kernel, int stride, int pad, int dilation, int out_tile) noexcept {
  const int last = (out_tile - 1) * stride - pad + dilation * (kernel - 1);
  const int after = last - (out_tile * stride - 1);
  return {pad > 0 ? pad : 0, after > 0 ? after : 0};
}

}  // namespace

Halo halo_for(const ConvShape& conv, int out_tile_h, int out_tile_w) noexcept {
  const Sides rows = sides(conv.kernel_h, conv.stride_h, conv.pad_top, conv.dilation_h, out_tile_h);
  const Sides columns = sides(conv.kernel_w, conv.stride_w, conv.pad_left, conv.dilation_w, out_tile_w);
  return {rows.before, columns.before, rows.after, columns.after};
}

}  // namespace featherweight
