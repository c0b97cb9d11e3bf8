#include "formats/gap.h"

#include <cstring>

namespace featherweight {
namespace {

// memcpy with a constant size is one load and one store, for any alignment.
template <std::size_t kWidth>
GapStatus scatter(GapStream stream, GapClaim claim, const std::uint8_t* values, std::uint8_t* out) noexcept {
  return gap_walk(stream, claim, [=](std::uint64_t value, std::uint64_t position) {
    std::memcpy(out + position * kWidth, values + value * kWidth, kWidth);
  });
}

}  // namespace

GapStatus gap_positions(GapStream stream, GapClaim claim, std::int64_t* out) noexcept {
  return gap_walk(stream, claim, [=](std::uint64_t value, std::uint64_t position) {
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
