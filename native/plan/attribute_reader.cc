#include "plan/attribute_reader.h"

#include <algorithm>

#include "plan/types.h"

namespace featherweight {
namespace {

struct ActivationRow {
  std::string_view name;
  ActivationKind kind;
  std::string_view a, b;  // names of its parameters; empty: none
};
constexpr ActivationRow kActivations[] = {
    {"relu", ActivationKind::kRelu, "", ""},
    {"clip", ActivationKind::kClip, "min", "max"},
    {"leaky_relu", ActivationKind::kLeakyRelu, "slope", ""},
    {"sigmoid", ActivationKind::kSigmoid, "", ""},
    {"tanh", ActivationKind::kTanh, "", ""},
    {"hard_sigmoid", ActivationKind::kHardSigmoid, "slope", "offset"},
    {"hard_swish", ActivationKind::kHardSwish, "", ""},
    {"silu", ActivationKind::kSilu, "", ""},
    {"gelu", ActivationKind::kGelu, "", ""},
    {"gelu_tanh", ActivationKind::kGeluTanh, "", ""},
    {"exp", ActivationKind::kExp, "", ""},
    {"sqrt", ActivationKind::kSqrt, "", ""},
    {"abs", ActivationKind::kAbs, "", ""},
    {"neg", ActivationKind::kNeg, "", ""},
    {"erf", ActivationKind::kErf, "", ""},
    {"elu", ActivationKind::kElu, "alpha", ""},
    {"softplus", ActivationKind::kSoftplus, "", ""},
};

const ActivationRow* row_named(const std::string* name) noexcept {
  for (const ActivationRow& row : kActivations)
    if (name != nullptr && *name == row.name) return &row;
  return nullptr;
}

}  // namespace

bool AttributeReader::has(std::string_view key) const noexcept {
  return attributes_ != nullptr && attributes_->find(key) != nullptr;
}

const Json* AttributeReader::take(std::string_view key) {
  known_.push_back(key);
  return attributes_ != nullptr ? attributes_->find(key) : nullptr;
}

void AttributeReader::fail(std::string_view key, const std::string& expected) {
  if (!status_.ok()) return;
  const Json* value = attributes_ != nullptr ? attributes_->find(key) : nullptr;
  status_ = {Code::kGraph,
             "attribute " + quoted(key) + " should be " + expected +
                 (value == nullptr ? std::string(", and is missing") : ", got " + std::string(value->type_name()))};
}

std::int64_t AttributeReader::integer(std::string_view key, Limits limits, std::optional<std::int64_t> otherwise) {
  const Json* value = take(key);
  if (value == nullptr && otherwise) return *otherwise;
  const std::int64_t* number = value != nullptr ? value->integer() : nullptr;
  if (number != nullptr && *number >= limits.least && *number <= limits.most) return *number;
  fail(key, "a whole number from " + std::to_string(limits.least) + " to " + std::to_string(limits.most));
  return 0;
}

bool AttributeReader::boolean(std::string_view key, std::optional<bool> otherwise) {
  const Json* value = take(key);
  if (value == nullptr && otherwise) return *otherwise;
  if (value != nullptr && value->boolean() != nullptr) return *value->boolean();
  fail(key, "true or false");
  return false;
}

double AttributeReader::number(std::string_view key, std::optional<double> otherwise) {
  const Json* value = take(key);
  if (value == nullptr && otherwise) return *otherwise;
  const auto number = value != nullptr ? value->number() : std::nullopt;
  if (!number) fail(key, "a number");
  return number.value_or(0.0);
}

std::vector<std::int64_t> AttributeReader::integers(std::string_view key, Limits limits) {
  const Json* value = take(key);
  std::vector<std::int64_t> out;
  const auto wrong = [&] {
    fail(key, "whole numbers from " + std::to_string(limits.least) + " to " + std::to_string(limits.most));
    return std::vector<std::int64_t>();
  };
  if (value == nullptr || value->array() == nullptr) return wrong();
  for (const Json& item : *value->array()) {
    const std::int64_t* number = item.integer();
    if (number == nullptr || *number < limits.least || *number > limits.most) return wrong();
    out.push_back(*number);
  }
  return out;
}

std::vector<double> AttributeReader::numbers(std::string_view key) {
  const Json* value = take(key);
  std::vector<double> out;
  if (value == nullptr || value->array() == nullptr) return fail(key, "an array of numbers"), out;
  for (const Json& item : *value->array()) {
    const auto number = item.number();
    if (!number) return fail(key, "an array of numbers"), std::vector<double>();
    out.push_back(*number);
  }
  return out;
}

Activation AttributeReader::activation(bool required) {
  constexpr std::string_view kKey = "activation";
  const Json* value = take(kKey);
  if (value == nullptr && !required) return {};
  const Json* kind = value != nullptr ? value->find("kind") : nullptr;
  const ActivationRow* row = row_named(kind != nullptr ? kind->string() : nullptr);
  if (row == nullptr) return fail(kKey, "an object with a known \"kind\""), Activation{};
  Activation out{row->kind, 0.0f, 0.0f};
  AttributeReader reader(value);
  (void)reader.take("kind");
  if (!row->a.empty()) out.a = static_cast<float>(reader.number(row->a));
  if (!row->b.empty()) out.b = static_cast<float>(reader.number(row->b));
  if (status_.ok()) status_ = reader.finish().within("activation " + std::string(row->name));
  return out;
}

Status AttributeReader::finish() {
  if (!status_.ok() || attributes_ == nullptr) return status_;
  if (attributes_->object() == nullptr) return {Code::kGraph, "\"attributes\" should be an object"};
  for (const auto& [key, value] : *attributes_->object())
    if (std::find(known_.begin(), known_.end(), key) == known_.end())
      return {Code::kGraph, "unknown attribute " + quoted(key)};
  return {};
}

}  // namespace featherweight
