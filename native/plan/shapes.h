// The shape of every value, from those of the inputs.
#pragma once

#include <vector>

#include "base/status.h"
#include "plan/graph.h"
#include "plan/types.h"

namespace featherweight {

struct ValueType {
  Dtype dtype = Dtype::kFloat32;
  Shape shape;
};

// One a value of the graph. An error names the operation, the shapes that went in and what it expects.
Result<std::vector<ValueType>> infer_types(const Graph& graph, const std::vector<Shape>& inputs);

}  // namespace featherweight
