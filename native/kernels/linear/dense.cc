#include "kernels/linear/dense.h"

namespace featherweight {

PackedDenseLinear pack_dense_linear(const DenseWeights& weights, int lanes) {
  const std::int64_t width = std::int64_t{PackedDenseLinear::kVectors} * lanes;
  const std::int64_t outputs = weights.rows, inputs = weights.columns;
  const std::int64_t panels = (outputs + width - 1) / width;
  AlignedVector<float> values(static_cast<std::size_t>(panels * inputs * width), 0.0f);
  for (std::int64_t m = 0; m < outputs; ++m)
    for (std::int64_t k = 0; k < inputs; ++k)
      values[static_cast<std::size_t>((m / width * inputs + k) * width + m % width)] = weights.values[m * inputs + k];
  PackedDenseLinear packed;
  packed.lanes = lanes;
  packed.outputs = weights.rows;
  packed.inputs = weights.columns;
  packed.panels = panels;
  packed.values = Array<float>(std::move(values));
  return packed;
}

}  // namespace featherweight
