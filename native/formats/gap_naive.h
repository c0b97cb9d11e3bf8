// The gap coding written as its definition reads: a bitmap first, then the values. For tests only.
#pragma once

#include <cstdint>
#include <vector>

namespace featherweight::naive {

inline std::vector<std::uint8_t> gap_encode(const std::vector<std::int64_t>& positions) {
  std::vector<std::uint8_t> bytes;
  std::int64_t previous = -1;
  for (std::int64_t position : positions) {
    std::int64_t gap = position - previous - 1;
    for (; gap >= 255; gap -= 255) bytes.push_back(255);
    bytes.push_back(static_cast<std::uint8_t>(gap));
    previous = position;
  }
  return bytes;
}

// Positions of a stream that is known to be well formed.
inline std::vector<std::int64_t> gap_decode(const std::vector<std::uint8_t>& bytes) {
  std::vector<bool> present;
  for (std::uint8_t byte : bytes) {
    present.insert(present.end(), byte, false);
    if (byte != 255) present.push_back(true);
  }
  std::vector<std::int64_t> positions;
  for (std::size_t i = 0; i < present.size(); ++i)
    if (present[i]) positions.push_back(static_cast<std::int64_t>(i));
  return positions;
}

}  // namespace featherweight::naive
