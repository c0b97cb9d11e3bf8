#include "formats/gap.h"

#include <cstring>

namespace featherweight {
namespace {

constexpr std::uint8_t kEscape = 255;

// Walks the stream once; emit(i, position) is called for value i, with i < nonzeros and position < elements
// already checked.
template <class Emit>
GapStatus walk(GapStream stream, GapClaim claim, Emit emit) noexcept {
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

// memcpy with a constant size is one load and one store, for any alignment.
template <std::size_t kWidth>
GapStatus scatter(GapStream stream, GapClaim claim, const std::uint8_t* values, std::uint8_t* out) noexcept {
  return walk(stream, claim, [=](std::uint64_t value, std::uint64_t position) {
    std::memcpy(out + position * kWidth, values + value * kWidth, kWidth);
  });
}

}  // namespace

GapStatus gap_positions(GapStream stream, GapClaim claim, std::int64_t* out) noexcept {
  return walk(stream, claim, [=](std::uint64_t value, std::uint64_t position) {
    out[value] = static_cast<std::int64_t>(position);
  });
}

GapStatus gap_scatter(GapStream stream, GapClaim claim, const std::uint8_t* values, std::size_t width,
                      std::uint8_t* out) noexcept {
  switch (width) {
    case 1: return scatter<1>(stream, claim, values, out);
    case 2: return scatter<2>(stream, claim, values, out);
    case 4: return scatter<4>(stream, claim, values, out);
    case 8: return scatter<8>(stream, claim, values, out);
    default: return GapStatus::kBadWidth;
  }
}

}  // namespace featherweight
