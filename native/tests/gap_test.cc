#include "formats/gap.h"

#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "check.h"
#include "formats/gap_naive.h"

using featherweight::GapClaim;
using featherweight::GapStatus;
using Bytes = std::vector<std::uint8_t>;
using Positions = std::vector<std::int64_t>;

namespace {

// Buffers come from the heap at their exact size, so that AddressSanitizer sees one byte too many.
template <class T>
std::unique_ptr<T[]> exact(std::size_t size) {
  return std::make_unique<T[]>(size);
}

GapStatus decode(const Bytes& bytes, GapClaim claim, Positions* positions = nullptr) {
  auto stream = exact<std::uint8_t>(bytes.size());
  if (!bytes.empty()) std::memcpy(stream.get(), bytes.data(), bytes.size());
  auto out = exact<std::int64_t>(claim.nonzeros);
  const GapStatus status = featherweight::gap_positions({stream.get(), bytes.size()}, claim, out.get());
  if (positions != nullptr) positions->assign(out.get(), out.get() + claim.nonzeros);
  return status;
}

Positions random_positions(std::mt19937& rng, std::int64_t elements, double density) {
  std::bernoulli_distribution keep(density);
  Positions positions;
  for (std::int64_t i = 0; i < elements; ++i)
    if (keep(rng)) positions.push_back(i);
  return positions;
}

void round_trips() {
  std::mt19937 rng(1);
  for (double density : {0.0, 0.0005, 0.003, 0.1, 0.5, 1.0})
    for (std::int64_t elements : {0, 1, 2, 254, 255, 256, 257, 511, 10000}) {
      const Positions expected = random_positions(rng, elements, density);
      const Bytes bytes = featherweight::naive::gap_encode(expected);
      CHECK(featherweight::naive::gap_decode(bytes) == expected);
      Positions got;
      const GapClaim claim{static_cast<std::uint64_t>(elements), expected.size()};
      CHECK(decode(bytes, claim, &got) == GapStatus::kOk);
      CHECK(got == expected);
    }
}

template <class T>
void scatters() {
  std::mt19937 rng(2);
  const Positions positions = random_positions(rng, 3000, 0.01);
  const Bytes bytes = featherweight::naive::gap_encode(positions);
  std::vector<T> values(positions.size()), expected(3000, T{0}), got(3000, T{0});
  for (std::size_t i = 0; i < positions.size(); ++i) {
    values[i] = static_cast<T>(i * 2654435761u + 1);
    expected[static_cast<std::size_t>(positions[i])] = values[i];
  }
  const auto status = featherweight::gap_scatter(
      {bytes.data(), bytes.size()}, {3000, values.size()}, reinterpret_cast<const std::uint8_t*>(values.data()),
      sizeof(T), reinterpret_cast<std::uint8_t*>(got.data()));
  CHECK(status == GapStatus::kOk);
  CHECK(got == expected);
}

void malformed_streams_are_refused() {
  CHECK(decode({3}, {4, 1}) == GapStatus::kOk);
  CHECK(decode({3}, {3, 1}) == GapStatus::kOutOfRange);
  CHECK(decode({0}, {0, 1}) == GapStatus::kOutOfRange);
  CHECK(decode({255, 0}, {256, 1}) == GapStatus::kOk);
  CHECK(decode({255, 0}, {255, 1}) == GapStatus::kOutOfRange);
  CHECK(decode({255, 255, 255}, {700, 0}) == GapStatus::kOutOfRange);
  CHECK(decode({0, 0}, {2, 1}) == GapStatus::kTooManyValues);
  CHECK(decode({0}, {2, 2}) == GapStatus::kTooFewValues);
  CHECK(decode({}, {2, 1}) == GapStatus::kTooFewValues);
  CHECK(decode({0, 255}, {300, 1}) == GapStatus::kOpenEscape);
  CHECK(decode({}, {2, 0}) == GapStatus::kOk);
  std::uint8_t byte = 0;
  CHECK(featherweight::gap_scatter({&byte, 1}, {1, 1}, &byte, 3, &byte) == GapStatus::kBadWidth);
}

// Whatever the bytes are, the sanitizers stay silent, and a stream that is accepted is the canonical one.
void random_streams_stay_inside() {
  std::mt19937 rng(3);
  for (int round = 0; round < 20000; ++round) {
    Bytes bytes(rng() % 12);
    for (auto& byte : bytes) byte = static_cast<std::uint8_t>(rng() % 3 == 0 ? 255 : rng() % 40);
    const GapClaim claim{rng() % 600, rng() % 8};
    Positions positions;
    if (decode(bytes, claim, &positions) == GapStatus::kOk)
      CHECK(featherweight::naive::gap_encode(positions) == bytes);
  }
}

}  // namespace

int main() {
  round_trips();
  scatters<std::uint8_t>();
  scatters<std::uint16_t>();
  scatters<std::uint32_t>();
  scatters<std::uint64_t>();
  malformed_streams_are_refused();
  random_streams_stay_inside();
  return featherweight::test::finish();
}
