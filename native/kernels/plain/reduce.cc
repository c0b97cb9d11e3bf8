// Reductions: reduce_mean, softmax, arg_max, global_pool.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/plain/nest.h"
#include "kernels/plain/plain.h"

namespace featherweight::plain {
namespace {

constexpr int kSums = 16;  // partial sums: the compiler makes vectors of them, and they round less than one would

float sum_of(const float* in, std::int64_t size) noexcept {
  float sums[kSums] = {};
  std::int64_t i = 0;
  for (; i + kSums <= size; i += kSums)
    for (int k = 0; k < kSums; ++k) sums[k] += in[i + k];
  for (; i < size; ++i) sums[i % kSums] += in[i];
  for (int half = kSums / 2; half > 0; half /= 2)
    for (int k = 0; k < half; ++k) sums[k] += sums[k + half];
  return sums[0];
}

float max_of(const float* in, std::int64_t size) noexcept {
  float most[kSums];
  std::fill_n(most, kSums, -std::numeric_limits<float>::infinity());
  std::int64_t i = 0;
  for (; i + kSums <= size; i += kSums)
    for (int k = 0; k < kSums; ++k) most[k] = most[k] < in[i + k] ? in[i + k] : most[k];
  for (; i < size; ++i) most[0] = most[0] < in[i] ? in[i] : most[0];
  return *std::max_element(most, most + kSums);
}

// The axes that stay, and those that are summed, as nests over the same input.
struct Split {
  Nest<1> kept, reduced;
  bool sums_rows = false;  // the last axis is summed
  std::int64_t count = 1;
};

Split split_axes(const ReduceMean& work) noexcept {
  const Strides strides = row_major(work.in_shape);
  Split split;
  for (int axis = 0; axis < work.in_shape.rank; ++axis) {
    if (work.in_shape.dims[axis] == 1) continue;
    Nest<1>& nest = work.reduced[axis] ? split.reduced : split.kept;
    nest.shape.dims[nest.shape.rank] = work.in_shape.dims[axis];
    nest.strides[0].of[nest.shape.rank++] = strides.of[axis];
    split.sums_rows = work.reduced[axis];
  }
  split.kept.collapse();
  split.reduced.collapse();
  split.count = split.reduced.shape.size();
  return split;
}

void mean_of_rows(const ReduceMean& work, const Split& split, Range range) noexcept {
  for_rows(split.kept, range, [&](std::int64_t position, const std::int64_t* offsets, std::int64_t count) {
    const std::int64_t step = split.kept.strides[0].of[split.kept.shape.rank - 1];
    for (std::int64_t i = 0; i < count; ++i) {
      float sum = 0.0f;
      for_rows(split.reduced, {0, split.count}, [&](std::int64_t, const std::int64_t* inner, std::int64_t size) {
        sum += sum_of(work.in + offsets[0] + i * step + inner[0], size);
      });
      work.out[position + i] = sum / static_cast<float>(split.count);
    }
  });
}

// The last axis stays: whole rows are added up.
void mean_across_rows(const ReduceMean& work, const Split& split, Range range) noexcept {
  for_rows(split.kept, range, [&](std::int64_t position, const std::int64_t* offsets, std::int64_t count) {
    float* out = work.out + position;
    std::fill_n(out, count, 0.0f);
    const std::int64_t step = split.reduced.strides[0].of[split.reduced.shape.rank - 1];
    for_rows(split.reduced, {0, split.count}, [&](std::int64_t, const std::int64_t* inner, std::int64_t size) {
      for (std::int64_t k = 0; k < size; ++k) {
        const float* row = work.in + offsets[0] + inner[0] + k * step;
        for (std::int64_t i = 0; i < count; ++i) out[i] += row[i];
      }
    });
    for (std::int64_t i = 0; i < count; ++i) out[i] /= static_cast<float>(split.count);
  });
}

// Columns of (size, inner) that are gone through together.
constexpr std::int64_t kColumns = 64;

struct Block {
  const float* in;
  std::int64_t size, inner, columns;
};

void max_of_columns(const Block& block, float* most) noexcept {
  std::copy_n(block.in, block.columns, most);
  for (std::int64_t i = 1; i < block.size; ++i)
    for (std::int64_t c = 0; c < block.columns; ++c)
      most[c] = most[c] < block.in[i * block.inner + c] ? block.in[i * block.inner + c] : most[c];
}

// With the sums of columns and what was taken off them.
void finish_columns(const Block& block, const float* most, float* sums, bool log, float* out) noexcept {
  for (std::int64_t c = 0; log && c < block.columns; ++c) sums[c] = std::log(sums[c]);
  for (std::int64_t i = 0; i < block.size; ++i) {
    const float* in = block.in + i * block.inner;
    float* row = out + i * block.inner;
    if (log) {
      for (std::int64_t c = 0; c < block.columns; ++c) row[c] = in[c] - most[c] - sums[c];
    } else {
      for (std::int64_t c = 0; c < block.columns; ++c) row[c] /= sums[c];
    }
  }
}

void softmax_columns(const Block& block, UnaryKernel unary, bool log, float* out) noexcept {
  float most[kColumns], sums[kColumns] = {};
  max_of_columns(block, most);
  for (std::int64_t i = 0; i < block.size; ++i) {
    float* row = out + i * block.inner;
    for (std::int64_t c = 0; c < block.columns; ++c) row[c] = block.in[i * block.inner + c] - most[c];
    unary({row, row, block.columns, {ActivationKind::kExp}}, Part{});
    for (std::int64_t c = 0; c < block.columns; ++c) sums[c] += row[c];
  }
  finish_columns(block, most, sums, log, out);
}

void softmax_row(const float* in, std::int64_t size, UnaryKernel unary, bool log, float* out) noexcept {
  const float most = max_of(in, size);
  for (std::int64_t i = 0; i < size; ++i) out[i] = in[i] - most;
  unary({out, out, size, {ActivationKind::kExp}}, Part{});
  const float sum = sum_of(out, size);
  if (log) {
    const float off = std::log(sum);
    for (std::int64_t i = 0; i < size; ++i) out[i] = in[i] - most - off;
  } else {
    const float scale = 1.0f / sum;
    for (std::int64_t i = 0; i < size; ++i) out[i] *= scale;
  }
}

// a comes after b in no order: NaN is the largest, the first of equals wins.
bool is_larger(float a, float b) noexcept { return a > b || (std::isnan(a) && !std::isnan(b)); }

}  // namespace

void reduce_mean(const ReduceMean& work, Part part) noexcept {
  const Split split = split_axes(work);
  const Range range = share(split.kept.shape.size(), part);
  if (split.sums_rows) {
    mean_of_rows(work, split, range);
  } else {
    mean_across_rows(work, split, range);
  }
}

void softmax(const Softmax& work, Part part) noexcept {
  if (work.size == 0) return;
  const std::int64_t pieces = (work.inner + kColumns - 1) / kColumns;
  const Range range = share(work.outer * pieces, part);
  for (std::int64_t i = range.first; i < range.last; ++i) {
    const std::int64_t column = i % pieces * kColumns;
    const std::int64_t at = i / pieces * work.size * work.inner + column;
    if (work.inner == 1) {
      softmax_row(work.in + at, work.size, work.unary, work.log, work.out + at);
    } else {
      const Block block{work.in + at, work.size, work.inner, std::min(kColumns, work.inner - column)};
      softmax_columns(block, work.unary, work.log, work.out + at);
    }
  }
}

void arg_max(const ArgMax& work, Part part) noexcept {
  const Range range = share(work.outer * work.inner, part);
  for (std::int64_t i = range.first; i < range.last; ++i) {
    const float* in = work.in + i / work.inner * work.size * work.inner + i % work.inner;
    std::int64_t best = 0;
    for (std::int64_t k = 1; k < work.size; ++k)
      if (is_larger(in[k * work.inner], in[best * work.inner])) best = k;
    work.out[i] = best;
  }
}

void global_pool(const GlobalPool& work, Part part) noexcept {
  const Range planes = share(work.planes, part);
  for (std::int64_t plane = planes.first; plane < planes.last; ++plane) {
    const float* in = work.in + plane * work.inner;
    work.out[plane] = work.kind == PoolKind::kMax ? max_of(in, work.inner)
                                                  : sum_of(in, work.inner) / static_cast<float>(work.inner);
  }
}

}  // namespace featherweight::plain
