// Products by the book, in double.
#pragma once

#include "kernels/elementwise/activation_naive.h"
#include "kernels/operations.h"

namespace featherweight::naive {

// packed is not looked at; weight is (outputs, inputs).
template <class Packed>
void linear(const Linear<Packed>& op, const DenseWeights& weight) {
  for (std::int64_t b = 0; b < op.batch; ++b)
    for (std::int64_t m = 0; m < weight.rows; ++m) {
      double sum = op.bias != nullptr ? op.bias[m] : 0.0;
      if (op.residual != nullptr) sum += op.residual[b * weight.rows + m];
      for (std::int64_t k = 0; k < weight.columns; ++k)
        sum += double{op.in[b * weight.columns + k]} * weight.values[m * weight.columns + k];
      op.out[b * weight.rows + m] = activate(op.activation, static_cast<float>(sum));
    }
}

inline void matmul(const MatMul& op) {
  for (std::int64_t i = 0; i < op.rows; ++i)
    for (std::int64_t j = 0; j < op.columns; ++j) {
      double sum = 0.0;
      for (std::int64_t k = 0; k < op.depth; ++k)
        sum += double{op.a[i * op.a_row + k * op.a_column]} * op.b[k * op.b_row + j * op.b_column];
      op.out[i * op.out_row + j] = static_cast<float>(sum);
    }
}

}  // namespace featherweight::naive
