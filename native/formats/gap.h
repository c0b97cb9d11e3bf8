// The gap coding of the positions of nonzeros, see src/featherweight/artifact/spec.md.
//
//   position[-1] = -1
//   byte b < 255 : a value stands at  position + 1 + b
//   byte b = 255 : position += 255, no value here
//
// Positions are therefore strictly ascending by construction; what can be wrong is the number of values, a
// position beyond the last element, and a 255 that no value follows.
#pragma once

#include <cstddef>
#include <cstdint>

namespace featherweight {

enum class GapStatus : int {
  kOk = 0,
  kOutOfRange = 1,     // a value, or a skip, at or beyond `elements`
  kTooManyValues = 2,  // more values than `nonzeros`
  kTooFewValues = 3,   // fewer values than `nonzeros`
  kOpenEscape = 4,     // the stream ends in a 255
  kBadWidth = 5,       // values are not 1, 2, 4 or 8 bytes wide
};

struct GapStream {
  const std::uint8_t* bytes;
  std::size_t size;
};

// What the stream must describe: `nonzeros` positions in [0, elements).
struct GapClaim {
  std::uint64_t elements;
  std::uint64_t nonzeros;
};

// Walks the stream once; emit(i, position) is called for value i, with i < nonzeros and position < elements
// already checked.
template <class Emit>
GapStatus gap_walk(GapStream stream, GapClaim claim, Emit emit) noexcept {
  constexpr std::uint8_t kEscape = 255;
  std::uint64_t next = 0;  // the first position not yet passed; never above elements
  std::uint64_t found = 0;
  for (std::size_t i = 0; i < stream.size; ++i) {
    const std::uint8_t gap = stream.bytes[i];
    if (gap >= claim.elements - next) return GapStatus::kOutOfRange;  // also when nothing is left
    next += gap;
    if (gap == kEscape) continue;
    if (found == claim.nonzeros) return GapStatus::kTooManyValues;
    emit(found++, next++);
  }
  if (found != claim.nonzeros) return GapStatus::kTooFewValues;
  if (stream.size != 0 && stream.bytes[stream.size - 1] == kEscape) return GapStatus::kOpenEscape;
  return GapStatus::kOk;
}

// Writes the positions to out[0 .. nonzeros). On any status but kOk the contents of out are unspecified;
// nothing is ever written beyond out[nonzeros - 1].
GapStatus gap_positions(GapStream stream, GapClaim claim, std::int64_t* out) noexcept;

// Copies values[i] (`width` bytes each, 1, 2, 4 or 8; nonzeros of them) to element position[i] of out, which has
// `elements` elements and is expected to hold zeros. Bounds as for gap_positions.
GapStatus gap_scatter(GapStream stream, GapClaim claim, const std::uint8_t* values, std::size_t width,
                      std::uint8_t* out) noexcept;

}  // namespace featherweight
