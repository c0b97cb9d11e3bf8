// A small strict JSON reader (RFC 8259), for headers that a stranger wrote.
//
// Refused, in words and with the byte: anything but one value, invalid UTF-8, a key twice, numbers that overflow,
// unpaired surrogates, and what exceeds the limits. Memory is a constant times the length of the text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/status.h"

namespace featherweight {

class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;  // in the order of the text

  Json() = default;
  explicit Json(bool value) : content_(value) {}
  explicit Json(std::int64_t value) : content_(value) {}
  explicit Json(double value) : content_(value) {}
  explicit Json(std::string value) : content_(std::move(value)) {}
  explicit Json(Array value) : content_(std::move(value)) {}
  explicit Json(Object value) : content_(std::move(value)) {}

  bool is_null() const noexcept { return std::holds_alternative<std::monostate>(content_); }
  // Null where it is of another type.
  const bool* boolean() const noexcept { return std::get_if<bool>(&content_); }
  const std::int64_t* integer() const noexcept { return std::get_if<std::int64_t>(&content_); }
  const std::string* string() const noexcept { return std::get_if<std::string>(&content_); }
  const Array* array() const noexcept { return std::get_if<Array>(&content_); }
  const Object* object() const noexcept { return std::get_if<Object>(&content_); }
  // Of an integer too.
  std::optional<double> number() const noexcept;
  // The member `key`; null where there is none, or this is no object.
  const Json* find(std::string_view key) const noexcept;
  // "a string", "an array", ...: for messages.
  const char* type_name() const noexcept;

 private:
  std::variant<std::monostate, bool, std::int64_t, double, std::string, Array, Object> content_;
};

struct JsonLimits {
  int depth = 32;
  std::size_t values = 4u << 20;
};

Result<Json> parse_json(std::string_view text, JsonLimits limits = {});

}  // namespace featherweight
