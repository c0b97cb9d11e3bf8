// normalize, in lanes over channels and of plain arrays.
#include "kernels/normalize/naive.h"

#include "kernels/layout/naive.h"
#include "kernels/plain/testing.h"

using namespace featherweight;
using test::between;
using test::Floats;

namespace {

LaneShape random_map(test::Random& random, int lanes) {
  LaneShape s;
  test::random_grid(random, lanes, &s);
  s.batch = between(random, 1, 5);
  s.channels = between(random, 1, 40);
  s.height = between(random, 1, 14);
  s.width = between(random, 1, 14);
  s.tile_n = test::tile_for(s.batch, s.grid_n);
  s.tile_h = test::tile_for(s.height, s.grid_h);
  s.tile_w = test::tile_for(s.width, s.grid_w);
  return s;
}

LaneShape with_halo(test::Random& random, LaneShape s) {
  const int most = between(random, 0, 2);
  s.halo = {between(random, 0, most), between(random, 0, most), between(random, 0, most), between(random, 0, most)};
  return s;
}

// Numbers around `middle`, so that what is subtracted matters.
Floats floats_around(test::Random& random, std::size_t size, float middle) {
  Floats floats = test::random_floats(random, size);
  for (float& x : floats) x += middle;
  return floats;
}

// What is written is right, and nothing but the inner pixels is.
void in_lanes(const Kernels& kernels) {
  test::Random random(1);
  for (int round = 0; round < 120; ++round) {
    const LaneShape inner = random_map(random, kernels.lanes);
    const LaneShape from = with_halo(random, inner), to = with_halo(random, inner);
    const auto pixels = static_cast<std::size_t>(inner.batch) * static_cast<std::size_t>(inner.channels) *
                        static_cast<std::size_t>(inner.height * inner.width);
    const Floats picture = floats_around(random, pixels, round % 3 == 0 ? 5.0f : 0.0f);
    Floats expected(pixels), got(pixels), in(test::size_of(from), 3.0f), out(test::size_of(to), 7.0f);
    naive::enter_lanes({picture.data(), {in.data(), &from}});
    const std::int64_t plane = std::int64_t{inner.height} * inner.width;
    for (std::int64_t n = 0; n < inner.batch; ++n)
      for (std::int64_t i = 0; i < plane; ++i) {
        const std::int64_t at = n * inner.channels * plane + i;
        naive::normalize(picture.data() + at, expected.data() + at, inner.channels, plane, 1e-3);
      }
    test::run(kernels.lane_normalize, {{in.data(), &from}, {out.data(), &to}, 1e-3f}, between(random, 1, 4));
    naive::leave_lanes({{out.data(), &to}, got.data()});
    CHECK(test::near(got, expected, 1e-4f));
    for (std::ptrdiff_t i = 0; i < to.offset(0, 0); ++i) CHECK(out[static_cast<std::size_t>(i)] == 7.0f);
  }
}

void plain_arrays() {
  test::Random random(2);
  for (int round = 0; round < 100; ++round) {
    plain::Normalize work;
    work.outer = between(random, 1, 6);
    work.size = between(random, 1, 60);
    work.inner = round % 2 == 0 ? 1 : between(random, 1, 150);
    work.epsilon = round % 5 == 0 ? 0.5f : 1e-3f;
    const auto size = static_cast<std::size_t>(work.outer * work.size * work.inner);
    const Floats in = floats_around(random, size, round % 3 == 0 ? 5.0f : 0.0f);
    work.in = in.data();
    const auto reference = [](const plain::Normalize& w) {
      for (std::int64_t i = 0; i < w.outer * w.inner; ++i) {
        const std::int64_t at = i / w.inner * w.size * w.inner + i % w.inner;
        naive::normalize(w.in + at, w.out + at, w.size, w.inner, double{w.epsilon});
      }
    };
    Floats expected(size);
    work.out = expected.data();
    reference(work);
    Floats got(size), again(size);
    work.out = got.data();
    test::run(plain::normalize, work);
    CHECK(test::near(got, expected, 1e-4f));
    work.out = again.data();
    test::run(plain::normalize, work, between(random, 2, 4));
    CHECK(got == again);
  }
}

}  // namespace

int main() {
  test::for_each_isa(in_lanes);
  plain_arrays();
  return test::finish();
}
