// Shapes and dtypes, and how messages tell them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace featherweight {

// Row-major sizes. Those of a value are at least 0; kUnknown stands for a size that the graph leaves open.
using Shape = std::vector<std::int64_t>;
inline constexpr std::int64_t kUnknown = -1;

inline constexpr std::size_t kMaxRank = 8;
inline constexpr std::int64_t kMaxSize = INT32_MAX;                  // along one axis: kernels count in int
inline constexpr std::int64_t kMaxElements = std::int64_t{1} << 34;  // of one value: 64 GiB of float32

enum class Dtype : std::uint8_t { kFloat32, kInt64, kInt32, kUint8, kBool };

struct DtypeInfo {
  Dtype dtype;
  const char* name;         // in the graph
  const char* safetensors;  // in the file
  std::size_t bytes;
};
inline constexpr DtypeInfo kDtypes[] = {
    {Dtype::kFloat32, "float32", "F32", 4}, {Dtype::kInt64, "int64", "I64", 8}, {Dtype::kInt32, "int32", "I32", 4},
    {Dtype::kUint8, "uint8", "U8", 1},      {Dtype::kBool, "bool", "BOOL", 1},
};
inline const DtypeInfo& info_of(Dtype dtype) noexcept { return kDtypes[static_cast<std::size_t>(dtype)]; }

// a * b, null where it overflows; neither is negative.
inline std::optional<std::int64_t> multiply(std::int64_t a, std::int64_t b) noexcept {
  if (a != 0 && b > INT64_MAX / a) return std::nullopt;
  return a * b;
}

// The number of elements, null where it is more than `limit` or a size is unknown or out of range.
inline std::optional<std::int64_t> elements_of(const Shape& shape, std::int64_t limit = kMaxElements) noexcept {
  std::int64_t product = 1;
  bool empty = false;
  for (const std::int64_t size : shape) {
    if (size < 0 || size > kMaxSize) return std::nullopt;
    if (size == 0) empty = true;
    const auto next = multiply(product, size == 0 ? 1 : size);
    if (!next || *next > limit) return std::nullopt;
    product = *next;
  }
  return empty ? 0 : product;
}
// Of a shape that was checked.
inline std::int64_t count(const Shape& shape, std::size_t first, std::size_t last) noexcept {
  std::int64_t product = 1;
  for (std::size_t axis = first; axis < last; ++axis) product *= shape[axis];
  return product;
}
inline std::int64_t count(const Shape& shape) noexcept { return count(shape, 0, shape.size()); }

// "(1, 3, ?, 224)"
inline std::string text_of(const Shape& shape) {
  std::string text = "(";
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    if (axis != 0) text += ", ";
    text += shape[axis] == kUnknown ? "?" : std::to_string(shape[axis]);
  }
  return text + ")";
}

// The first bytes of a text in UTF-8, without a part of a character at the end: `most` or up to three fewer.
inline std::string_view beginning_of(std::string_view text, std::size_t most) noexcept {
  if (text.size() <= most) return text;
  while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xC0u) == 0x80u) --most;
  return text.substr(0, most);
}

// A name that a stranger wrote, cut to a length that fits a message.
inline std::string quoted(std::string_view name) {
  constexpr std::size_t kLongest = 120;
  std::string text = "\"" + std::string(beginning_of(name, kLongest));
  return text + (name.size() > kLongest ? "...\"" : "\"");
}

}  // namespace featherweight
