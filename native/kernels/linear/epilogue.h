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

// Adds bias and residual to the sums of `count` outputs of one row of the batch, from `column` on.
FW_INLINE Vec with_addends(const LinearOutput& to, std::int64_t row, std::int64_t column, Vec sum, int count) noexcept {
  if (to.bias != nullptr) sum = sum + load_first(to.bias + column, count);
  if (to.residual != nullptr) sum = sum + load_first(to.residual + row * to.width + column, count);
  return sum;
}

// Writes `count` outputs of one row of the batch, from `column` on.
FW_INLINE void write_vector(const LinearOutput& to, std::int64_t row, std::int64_t column, Vec sum,
                            int count) noexcept {
  const Vec x = with_addends(to, row, column, sum, count);
  float* out = to.out + row * to.width + column;
  if (to.bounds.is_clamp) {
    store_first(out, clamp(x, broadcast(to.bounds.low), broadcast(to.bounds.high)), count);
  } else {
    alignas(64) float finished[Vec::kLanes];
    store(finished, x);
    activate_row(to.activation, finished, 1);
    store_first(out, load(finished), count);
  }
}

// Outputs of one row, from `column` on, as many as there are vectors; those behind the last output are not written.
template <int kVectors>
FW_INLINE void write_outputs(const LinearOutput& to, std::int64_t row, std::int64_t column,
                             const Vec (&sums)[kVectors]) noexcept {
  FW_UNROLL for (int v = 0; v < kVectors; ++v) {
    const std::int64_t first = column + v * Vec::kLanes, left = to.width - first;
    if (left <= 0) break;
    write_vector(to, row, first, sums[v], left < Vec::kLanes ? static_cast<int>(left) : Vec::kLanes);
  }
}

}  // namespace featherweight::FW_ISA
