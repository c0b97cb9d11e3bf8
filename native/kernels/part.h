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

}  // namespace featherweight
