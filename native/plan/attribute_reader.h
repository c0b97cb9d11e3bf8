// Reads the attributes of an operation one by one, and remembers the first that is wrong.
//
// Each function returns its default where something is wrong already, so that a row of the table of operations
// reads as a list; finish() tells what it was, or names an attribute that no function asked for.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "kernels/operations.h"

namespace featherweight {

template <class Enum>
struct Choice {
  std::string_view name;
  Enum value;
};

class AttributeReader {
 public:
  struct Limits {
    std::int64_t least = INT64_MIN, most = INT64_MAX;
  };

  // `attributes`: an object, or null where there are none.
  explicit AttributeReader(const Json* attributes) : attributes_(attributes) {}

  bool has(std::string_view key) const noexcept;
  std::int64_t integer(std::string_view key, Limits limits, std::optional<std::int64_t> otherwise = {});
  bool boolean(std::string_view key, std::optional<bool> otherwise = {});
  double number(std::string_view key, std::optional<double> otherwise = {});
  std::vector<std::int64_t> integers(std::string_view key, Limits limits);
  std::vector<double> numbers(std::string_view key);

  template <std::size_t N>
  std::array<int, N> ints(std::string_view key, Limits limits, std::optional<std::array<int, N>> otherwise = {}) {
    if (otherwise && !has(key)) return *otherwise;
    const std::vector<std::int64_t> got = integers(key, limits);
    std::array<int, N> out{};
    if (got.size() != N) return fail(key, std::to_string(N) + " whole numbers"), out;
    for (std::size_t i = 0; i < N; ++i) out[i] = static_cast<int>(got[i]);
    return out;
  }

  template <class Enum, std::size_t N>
  Enum choice(std::string_view key, const Choice<Enum> (&choices)[N], std::optional<Enum> otherwise = {}) {
    if (otherwise && !has(key)) return *otherwise;
    const Json* value = take(key);
    std::string names;
    for (const auto& choice : choices) {
      if (value != nullptr && value->string() != nullptr && *value->string() == choice.name) return choice.value;
      names += (names.empty() ? "" : ", ") + std::string(choice.name);
    }
    fail(key, "one of " + names);
    return choices[0].value;
  }

  // kNone where there is none and it may be missing.
  Activation activation(bool required);

  // What `key` should be, and is not. Only the first is kept.
  void fail(std::string_view key, const std::string& expected);
  Status finish();

 private:
  const Json* take(std::string_view key);

  const Json* attributes_;
  std::vector<std::string_view> known_;
  Status status_;
};

}  // namespace featherweight
