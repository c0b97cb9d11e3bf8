// The share of a range that a Part does.
#pragma once

#include <cstdint>

#include "base/always_inline.h"
#include "kernels/operations.h"

namespace featherweight {

struct Range {
  std::int64_t first = 0, last = 0;  // last is not in it
};

// Shares differ by at most one.
FW_INLINE Range share(std::int64_t size, Part part) noexcept {
  return {size * part.index / part.count, size * (part.index + 1) / part.count};
}

// Tasks are numbered row by row, `columns` to a row: calls body(row, Range of columns) for each row that has some.
template <class Body>
FW_INLINE void for_each_run(Range tasks, std::int64_t columns, Body body) noexcept {
  for (std::int64_t task = tasks.first; task < tasks.last;) {
    const std::int64_t row = task / columns, first = task % columns;
    const std::int64_t left = tasks.last - task;
    const std::int64_t last = first + left < columns ? first + left : columns;
    body(row, Range{first, last});
    task += last - first;
  }
}

}  // namespace featherweight
