// The shape of every value, from those of the inputs.
#pragma once

#include <optional>
#include <vector>

#include "base/status.h"
#include "plan/graph.h"
#include "plan/types.h"

namespace featherweight {

struct ValueType {
  Dtype dtype = Dtype::kFloat32;
  Shape shape;
};

struct OutputType {
  Dtype dtype = Dtype::kFloat32;
  std::optional<Shape> shape;
};

// One a value of the graph. An error names the operation, the shapes that went in and what it expects.
Result<std::vector<ValueType>> infer_types(const Graph& graph, const std::vector<Shape>& inputs);

// Of each output: the dtype, and the shape where it follows from the graph alone; else a shape with kUnknown for
// sizes that differ between two trials of the unknown input sizes, or null where no trial fits.
std::vector<OutputType> partial_output_types(const Graph& graph);

}  // namespace featherweight
