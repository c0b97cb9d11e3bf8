// Resizing, as ONNX says and in float32, as ONNX Runtime calculates it: pixels at the very middle of two fall to the
// same side.
#include <algorithm>
#include <cmath>

#include "kernels/part.h"
#include "kernels/plain/plain.h"

namespace featherweight::plain {
namespace {

// Where in the input the output's pixel x lies.
float position(Coordinates coordinates, const ResizeAxis& axis, std::int64_t x) noexcept {
  const float at = static_cast<float>(x);
  if (axis.scale == 1.0f && axis.in == axis.out) return at;
  switch (coordinates) {
    case Coordinates::kAsymmetric: return at / axis.scale;
    case Coordinates::kHalfPixel: return (at + 0.5f) / axis.scale - 0.5f;
    case Coordinates::kPytorchHalfPixel: return axis.out > 1 ? (at + 0.5f) / axis.scale - 0.5f : 0.0f;
    case Coordinates::kAlignCorners:
      return axis.out > 1 ? at * static_cast<float>(axis.in - 1) / static_cast<float>(axis.out - 1) : 0.0f;
  }
  return at;
}

float rounded(Rounding rounding, float x) noexcept {
  const float floor = std::floor(x), fraction = x - floor;
  switch (rounding) {
    case Rounding::kFloor: return floor;
    case Rounding::kCeil: return std::ceil(x);
    case Rounding::kRoundPreferFloor: return fraction > 0.5f ? floor + 1.0f : floor;
    case Rounding::kRoundPreferCeil: return fraction >= 0.5f ? floor + 1.0f : floor;
  }
  return x;
}

// The two pixels of the input between which an output lies, and how far from the first.
struct Between {
  std::int64_t first, second;
  float weight;  // of the second
};

Between between(const Resize& work, const ResizeAxis& axis, std::int64_t x) noexcept {
  const float at = position(work.coordinates, axis, x);
  const float end = static_cast<float>(axis.in - 1);
  if (work.mode == ResizeMode::kNearest) {
    const auto nearest = static_cast<std::int64_t>(std::clamp(rounded(work.rounding, at), 0.0f, end));
    return {nearest, nearest, 0.0f};
  }
  const float inside = std::clamp(at, 0.0f, end);
  const auto first = static_cast<std::int64_t>(inside);
  return {first, std::min(first + 1, axis.in - 1), inside - static_cast<float>(first)};
}

// Columns that are resized at once: where they lie is found out once for all rows.
struct Columns {
  static constexpr std::int64_t kMost = 128;
  std::int64_t begin = 0, size = 0;
  Between at[kMost];
};

void nearest_row(const float* in, const Columns& columns, float* out) noexcept {
  for (std::int64_t i = 0; i < columns.size; ++i) out[i] = in[columns.at[i].first];
}

void linear_row(const float* upper, const float* lower, float weight, const Columns& columns, float* out) noexcept {
  for (std::int64_t i = 0; i < columns.size; ++i) {
    const Between& x = columns.at[i];
    const float left = upper[x.first] + (lower[x.first] - upper[x.first]) * weight;
    const float right = upper[x.second] + (lower[x.second] - upper[x.second]) * weight;
    out[i] = left + (right - left) * x.weight;
  }
}

void resize_row(const Resize& work, const Columns& columns, std::int64_t row) noexcept {
  const Between y = between(work, work.height, row % work.height.out);
  const float* plane = work.in + row / work.height.out * work.height.in * work.width.in;
  float* out = work.out + row * work.width.out + columns.begin;
  const float* upper = plane + y.first * work.width.in;
  if (work.mode == ResizeMode::kNearest) {
    nearest_row(upper, columns, out);
  } else {
    linear_row(upper, plane + y.second * work.width.in, y.weight, columns, out);
  }
}

}  // namespace

void resize(const Resize& work, Part part) noexcept {
  const Range rows = share(work.planes * work.height.out, part);
  Columns columns;
  for (; columns.begin < work.width.out; columns.begin += Columns::kMost) {
    columns.size = std::min(Columns::kMost, work.width.out - columns.begin);
    for (std::int64_t i = 0; i < columns.size; ++i) columns.at[i] = between(work, work.width, columns.begin + i);
    for (std::int64_t row = rows.first; row < rows.last; ++row) resize_row(work, columns, row);
  }
}

}  // namespace featherweight::plain
