// act(sum + bias + residual) of rows of outputs.
#pragma once

#include "kernels/elementwise/activation.h"

namespace featherweight::FW_ISA {

struct LinearOutput {
  float* out;
  const float* bias;
  const float* residual;
  std::int64_t width;  // outputs: M
  Activation activation;
  Clamp bounds;
};

template <class Packed>
FW_INLINE LinearOutput output_of(const Linear<Packed>& op) noexcept {
  return {op.out, op.bias, op.residual, op.packed->outputs, op.activation, clamp_of(op.activation)};
}

// Sums of outputs `column` and on of one row of the batch, as many as there are vectors; those behind the last output
// are not written.
template <int kVectors>
FW_INLINE void write_outputs(const LinearOutput& to, std::int64_t row, std::int64_t column,
                             const Vec (&sums)[kVectors]) noexcept {
  alignas(64) float finished[kVectors * Vec::kLanes];
  FW_UNROLL for (int v = 0; v < kVectors; ++v) {
    const std::int64_t first = column + v * Vec::kLanes, left = to.width - first;
    if (left <= 0) break;
    const int count = left < Vec::kLanes ? static_cast<int>(left) : Vec::kLanes;
    Vec x = sums[v];
    if (to.bias != nullptr) x = x + load_first(to.bias + first, count);
    if (to.residual != nullptr) x = x + load_first(to.residual + row * to.width + first, count);
    if (to.bounds.is_clamp) {
      store_first(to.out + row * to.width + first, clamp(x, broadcast(to.bounds.low), broadcast(to.bounds.high)), count);
      continue;
    }
    store(finished, x);
    activate_row(to.activation, finished, 1);
    store_first(to.out + row * to.width + first, load(finished), count);
  }
}

}  // namespace featherweight::FW_ISA
