// Sparse linear layers: out (B, M) = act(in (B, K) * weight (M, K) transposed + bias + residual).
//
// A single row goes over the nonzeros, (value, column).
//
// Several are tokens in lanes: `tile` vectors of tokens are transposed, go through a sparse 1x1 convolution
// (conv/sparse.h) as a picture of one row, and are transposed back. Parts share pairs of such a block and a strip of
// outputs; two that share a block both transpose it, so that neither waits for the other.
#pragma once

#include "kernels/array.h"
#include "kernels/conv/sparse.h"
#include "kernels/operations.h"

namespace featherweight {

struct PackedSparseLinear {
  int lanes = 0;
  int outputs = 0, inputs = 0;  // M, K
  int tile = 0;                 // vectors of tokens in a block; 0: row by row

  // Row by row. Columns are in 16 bits where they fit, else in 32.
  Array<float> values;
  Array<std::uint16_t> columns;
  Array<std::int32_t> wide_columns;
  Array<std::int64_t> starts;  // M + 1 of them

  // Of a block of tokens: (1, K, 1, tile * L) to (1, M, 1, tile * L). Its strip i has the outputs
  // strips[i] .. strips[i+1]-1.
  PackedSparseConv conv;
  Array<std::int32_t> strips;
};

// For batches of about this size (any other is right, too); lanes: of the kernels that will run it.
PackedSparseLinear pack_sparse_linear(const SparseWeights& weights, int lanes, std::int64_t batch);

// How large SparseLinear::scratch is, in floats; 0: it is not needed.
std::int64_t sparse_linear_scratch(const PackedSparseLinear& packed, int parts) noexcept;

}  // namespace featherweight
