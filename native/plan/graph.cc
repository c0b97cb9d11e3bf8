#include "plan/graph.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "plan/operation_table.h"

namespace featherweight {
namespace {

Status wrong(std::string text) { return {Code::kGraph, std::move(text)}; }

// The members of an object, some of which may be missing; null where one is not known.
struct Members {
  const Json* object;
  const Json* find(std::string_view key) const noexcept { return object->find(key); }
  const std::string* string(std::string_view key) const noexcept {
    const Json* value = find(key);
    return value != nullptr ? value->string() : nullptr;
  }
  const Json::Array* array(std::string_view key) const noexcept {
    const Json* value = find(key);
    return value != nullptr ? value->array() : nullptr;
  }
};

Status only(const Json& object, std::initializer_list<std::string_view> known) {
  if (object.object() == nullptr) return wrong(std::string("expected an object, got ") + object.type_name());
  for (const auto& [key, value] : *object.object()) {
    bool found = false;
    for (const std::string_view name : known) found = found || name == key;
    if (!found) return wrong("unknown member " + quoted(key));
  }
  return {};
}

Result<Shape> parse_shape(const Json::Array* sizes, bool may_be_unknown) {
  if (sizes == nullptr) return wrong("\"shape\" should be an array");
  if (sizes->size() > kMaxRank) return wrong("more than 8 axes");
  Shape shape;
  for (const Json& size : *sizes) {
    if (may_be_unknown && size.is_null()) {
      shape.push_back(kUnknown);
    } else if (size.integer() != nullptr && *size.integer() >= 0 && *size.integer() <= kMaxSize) {
      shape.push_back(*size.integer());
    } else {
      return wrong(std::string("\"shape\" should be whole numbers from 0 on") +
                   (may_be_unknown ? ", or null" : ""));
    }
  }
  return shape;
}

class GraphParser {
 public:
  Result<Graph> parse(const Json& json) {
    FW_TRY(only(json, {"version", "inputs", "outputs", "operations", "constants"}));
    const Json* version = json.find("version");
    if (version == nullptr || version->integer() == nullptr || *version->integer() != 1)
      return wrong("\"version\" should be 1");
    const Members members{&json};
    FW_TRY(parse_constants(json.find("constants")));
    FW_TRY(parse_inputs(members.array("inputs")));
    FW_TRY(parse_operations(members.array("operations")));
    FW_TRY(parse_outputs(members.array("outputs")));
    return std::move(graph_);
  }

 private:
  Status parse_constants(const Json* table) {
    if (table == nullptr || table->object() == nullptr) return wrong("\"constants\" should be an object");
    for (const auto& [name, entry] : *table->object()) {
      const std::string where = "constant " + quoted(name);
      FW_TRY(only(entry, {"shape", "storage"}).within(where));
      auto shape = parse_shape(Members{&entry}.array("shape"), false);
      if (!shape.ok()) return shape.status().within(where);
      const std::string* storage = Members{&entry}.string("storage");
      if (storage == nullptr || (*storage != "dense" && *storage != "sparse"))
        return wrong(where + ": \"storage\" should be \"dense\" or \"sparse\"");
      constant_ids_.emplace(name, static_cast<int>(graph_.constants.size()));
      graph_.constants.push_back(
          {name, std::move(shape).value(), *storage == "sparse" ? Storage::kSparse : Storage::kDense});
    }
    return {};
  }

  Status parse_inputs(const Json::Array* inputs) {
    if (inputs == nullptr || inputs->empty()) return wrong("\"inputs\" should be an array of one at least");
    for (const Json& entry : *inputs) FW_TRY(parse_input(entry).within("inputs"));
    return {};
  }

  Status parse_input(const Json& entry) {
    FW_TRY(only(entry, {"name", "dtype", "shape"}));
    const Members members{&entry};
    const std::string* name = members.string("name");
    if (name == nullptr) return wrong("\"name\" should be a string");
    const std::string* dtype = members.string("dtype");
    for (const DtypeInfo& row : kDtypes) {
      if (dtype == nullptr || *dtype != row.name) continue;
      auto shape = parse_shape(members.array("shape"), true);
      if (!shape.ok()) return shape.status().within(quoted(*name));
      FW_TRY(define(*name));
      graph_.inputs.push_back({*name, row.dtype, std::move(shape).value()});
      return {};
    }
    return wrong(quoted(*name) + ": \"dtype\" should be float32, int64, int32, uint8 or bool");
  }

  Status parse_operations(const Json::Array* operations) {
    if (operations == nullptr) return wrong("\"operations\" should be an array");
    if (operations->size() > kMaxOperations)
      return wrong("more than " + std::to_string(kMaxOperations) + " operations");
    for (std::size_t i = 0; i < operations->size(); ++i) {
      Operation operation;
      const Json& entry = (*operations)[i];
      if (Status status = parse_operation(entry, operation); !status.ok())
        return std::move(status).within("operation " + std::to_string(i) +
                                        (operation.op.empty() ? "" : " (" + operation.title() + ")"));
      graph_.operations.push_back(std::move(operation));
    }
    return {};
  }

  Status parse_operation(const Json& entry, Operation& out) {
    FW_TRY(only(entry, {"op", "name", "inputs", "outputs", "attributes", "constants"}));
    const Members members{&entry};
    const std::string* op = members.string("op");
    const OperationRow* row = op != nullptr ? operation_row(*op) : nullptr;
    if (row == nullptr)
      return wrong((op != nullptr ? "unknown operation " + quoted(*op) : std::string("\"op\" should be a string")) +
                   "; there are: " + operation_names());
    out.op = *op;
    const std::string* name = members.string("name");
    if (name == nullptr) return wrong("\"name\" should be a string");
    out.name = *name;
    if (!operation_names_.insert(*name).second) return wrong("another operation has its name");
    FW_TRY(parse_operands(members.array("inputs"), *row, out));
    FW_TRY(parse_operation_constants(members.find("constants"), *row, out));
    FW_TRY(check_operands(*row, out));
    AttributeReader reader(members.find("attributes"));
    out.attributes = row->read(reader);
    if (row->has_activation) out.activation = reader.activation(row->op == "unary");
    FW_TRY(reader.finish());
    const auto* binary = std::get_if<BinaryAttributes>(&out.attributes);
    if (binary != nullptr && binary->swapped && out.weight == kNone)
      return wrong("\"swapped\" says that the constant comes first, and there is none");
    return define_output(members.array("outputs"), out);
  }

  Status parse_operands(const Json::Array* names, const OperationRow& row, Operation& out) {
    const auto size = names != nullptr ? static_cast<std::int64_t>(names->size()) : 0;
    if (names == nullptr || size < row.least_inputs || size > row.most_inputs)
      return wrong("takes " + std::to_string(row.least_inputs) + " inputs" +
                   (row.most_inputs > row.least_inputs ? " at least" : "") + ", got " + std::to_string(size));
    for (const Json& item : *names) {
      const std::string* name = item.string();
      const auto found = name != nullptr ? value_ids_.find(*name) : value_ids_.end();
      if (found == value_ids_.end())
        return wrong("input " + (name != nullptr ? quoted(*name) : std::string("that is no string")) +
                     " is not defined before it");
      out.inputs.push_back(found->second);
    }
    return {};
  }

  Status parse_operation_constants(const Json* table, const OperationRow& row, Operation& out) {
    if (table == nullptr) return {};
    if (table->object() == nullptr) return wrong("\"constants\" should be an object");
    for (const auto& [role, value] : *table->object()) {
      ConstantId* slot = role.empty()         ? nullptr
                         : role == row.weight ? &out.weight
                         : role == row.bias   ? &out.bias
                                              : nullptr;
      if (slot == nullptr) return wrong("takes no constant " + quoted(role));
      const auto found = value.string() != nullptr ? constant_ids_.find(*value.string()) : constant_ids_.end();
      if (found == constant_ids_.end()) return wrong("constant " + quoted(role) + " is not one of the graph's");
      *slot = found->second;
    }
    return {};
  }

  static Status check_operands(const OperationRow& row, const Operation& out) {
    if (row.weight_required && out.weight == kNone)
      return wrong("the constant " + quoted(row.weight) + " is missing");
    if (row.op == "affine" && out.bias == kNone) return wrong("the constant \"shift\" is missing");
    if (row.weight == "b" && out.inputs.size() + (out.weight != kNone ? 1 : 0) != 2)
      return wrong("takes two inputs, or one and the constant \"b\"");
    return {};
  }

  Status define_output(const Json::Array* outputs, Operation& out) {
    if (outputs == nullptr || outputs->size() != 1 || (*outputs)[0].string() == nullptr)
      return wrong("\"outputs\" should be an array of one name");
    out.output = static_cast<ValueId>(graph_.values.size());
    return define(*(*outputs)[0].string());
  }

  Status define(const std::string& name) {
    if (!value_ids_.emplace(name, static_cast<ValueId>(graph_.values.size())).second)
      return wrong("the value " + quoted(name) + " is defined twice");
    graph_.values.push_back(name);
    return {};
  }

  Status parse_outputs(const Json::Array* outputs) {
    if (outputs == nullptr || outputs->empty()) return wrong("\"outputs\" should be an array of one at least");
    for (const Json& item : *outputs) {
      const auto found = item.string() != nullptr ? value_ids_.find(*item.string()) : value_ids_.end();
      if (found == value_ids_.end())
        return wrong("output " +
                     (item.string() != nullptr ? quoted(*item.string()) : std::string("that is no string")) +
                     " is not defined");
      if (std::find(graph_.outputs.begin(), graph_.outputs.end(), found->second) != graph_.outputs.end())
        return wrong("output " + quoted(found->first) + " stands twice");
      graph_.outputs.push_back(found->second);
    }
    return {};
  }

  Graph graph_;
  std::unordered_map<std::string, ValueId> value_ids_;
  std::unordered_map<std::string, ConstantId> constant_ids_;
  std::unordered_set<std::string> operation_names_;
};

}  // namespace

Result<Graph> parse_graph(std::string_view text) {
  auto json = parse_json(text);
  if (!json.ok()) return Status(Code::kGraph, json.status().text()).within("graph");
  auto graph = GraphParser().parse(json.value());
  if (!graph.ok()) return graph.status().within("graph");
  return graph;
}

}  // namespace featherweight
