// Dense linear layers: out (B, M) = act(in (B, K) * weight (M, K) transposed + bias + residual).
//
// Outputs are in lanes. Weights are packed into panels of two vectors of outputs, [panel][k][2 L], zeros behind the
// last output: a panel is one stream, and each input number is broadcast. A tile of several rows of the batch uses
// each vector of weights several times (tile.h); a single row goes over several panels at once.
#pragma once

#include "kernels/array.h"
#include "kernels/operations.h"

namespace featherweight {

struct PackedDenseLinear {
  static constexpr int kVectors = 2;  // in a panel

  int lanes = 0;
  int outputs = 0, inputs = 0;  // M, K
  std::int64_t panels = 0;
  Array<float> values;
};

// `weights` is (M, K); lanes: of the kernels that will run it.
PackedDenseLinear pack_dense_linear(const DenseWeights& weights, int lanes);

}  // namespace featherweight
