// normalize of plain arrays.
#include <algorithm>
#include <cmath>

#include "kernels/part.h"
#include "kernels/plain/plain.h"

namespace featherweight::plain {
namespace {

constexpr std::int64_t kColumns = 64;  // of (size, inner), that are gone through together

// `columns` neighbouring columns of (size, inner), from their first numbers.
void normalize_columns(const Normalize& work, const float* in, float* out, std::int64_t columns) noexcept {
  float means[kColumns] = {}, scales[kColumns] = {};
  const float size = static_cast<float>(work.size);
  const auto each = [&](auto visit) {
    for (std::int64_t i = 0; i < work.size; ++i)
      for (std::int64_t c = 0; c < columns; ++c) visit(i * work.inner + c, c);
  };
  each([&](std::int64_t at, std::int64_t c) { means[c] += in[at]; });
  for (std::int64_t c = 0; c < columns; ++c) means[c] /= size;
  each([&](std::int64_t at, std::int64_t c) { scales[c] += (in[at] - means[c]) * (in[at] - means[c]); });
  for (std::int64_t c = 0; c < columns; ++c) scales[c] = 1.0f / std::sqrt(scales[c] / size + work.epsilon);
  each([&](std::int64_t at, std::int64_t c) { out[at] = (in[at] - means[c]) * scales[c]; });
}

// The sum of f(i): partial sums make vectors, and round less than one would.
template <class F>
float sum(std::int64_t size, F f) noexcept {
  constexpr int kSums = 16;
  float sums[kSums] = {};
  std::int64_t i = 0;
  for (; i + kSums <= size; i += kSums)
    for (int k = 0; k < kSums; ++k) sums[k] += f(i + k);
  for (; i < size; ++i) sums[i % kSums] += f(i);
  for (int half = kSums / 2; half > 0; half /= 2)
    for (int k = 0; k < half; ++k) sums[k] += sums[k + half];
  return sums[0];
}

void normalize_row(const Normalize& work, const float* in, float* out) noexcept {
  const float size = static_cast<float>(work.size);
  const float mean = sum(work.size, [&](std::int64_t i) { return in[i]; }) / size;
  const float squares = sum(work.size, [&](std::int64_t i) { return (in[i] - mean) * (in[i] - mean); });
  const float scale = 1.0f / std::sqrt(squares / size + work.epsilon);
  for (std::int64_t i = 0; i < work.size; ++i) out[i] = (in[i] - mean) * scale;
}

}  // namespace

void normalize(const Normalize& work, Part part) noexcept {
  const std::int64_t pieces = (work.inner + kColumns - 1) / kColumns;
  const Range range = share(work.outer * pieces, part);
  for (std::int64_t i = range.first; i < range.last; ++i) {
    const std::int64_t column = i % pieces * kColumns;
    const std::int64_t at = i / pieces * work.size * work.inner + column;
    if (work.inner == 1) {
      normalize_row(work, work.in + at, work.out + at);
    } else {
      normalize_columns(work, work.in + at, work.out + at, std::min(kColumns, work.inner - column));
    }
  }
}

}  // namespace featherweight::plain
