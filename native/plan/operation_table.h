// The table of operations of docs/design/runtime.md in code: one row an operation.
#pragma once

#include <string_view>

#include "plan/attribute_reader.h"
#include "plan/graph.h"

namespace featherweight {

struct OperationRow {
  std::string_view op;
  int least_inputs, most_inputs;  // without constants
  std::string_view weight, bias;  // names of its constants; empty: it takes none
  bool weight_required;           // bias never is, but for the shift of `affine`
  Attributes (*read)(AttributeReader&);
  bool has_activation;
};

// Null where there is none of this name.
const OperationRow* operation_row(std::string_view op) noexcept;
std::string operation_names();

}  // namespace featherweight
