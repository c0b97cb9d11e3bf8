#include <cmath>

#include "kernels/layout/naive.h"
#include "kernels/testing.h"

using namespace featherweight;
using test::between;

namespace {

LaneShape random_shape(test::Random& random, int lanes, int most_channels = 5) {
  LaneShape s;
  test::random_grid(random, lanes, &s);
  s.batch = between(random, 1, 5);
  s.channels = between(random, 1, most_channels);
  s.height = between(random, 1, 20);
  s.width = between(random, 1, 20);
  // A tile that is too large leaves lanes without any pixel of the picture.
  s.tile_n = test::tile_for(s.batch, s.grid_n) + between(random, 0, 1);
  s.tile_h = test::tile_for(s.height, s.grid_h) + between(random, 0, 2);
  s.tile_w = test::tile_for(s.width, s.grid_w) + between(random, 0, 2);
  s.halo = {between(random, 0, 3), between(random, 0, 3), between(random, 0, 3), between(random, 0, 3)};
  return s;
}

std::size_t pixels(const LaneShape& s) {
  return static_cast<std::size_t>(s.batch) * static_cast<std::size_t>(s.channels * s.height * s.width);
}

void enters_and_leaves(const Kernels& kernels) {
  test::Random random(1);
  for (int round = 0; round < 60; ++round) {
    const LaneShape s = random_shape(random, kernels.lanes);
    const test::Floats picture = test::random_floats(random, pixels(s));
    test::Floats got(test::size_of(s), 7.0f), expected(test::size_of(s), 7.0f);
    naive::enter_lanes({picture.data(), {expected.data(), &s}});
    test::run(kernels.enter_lanes, {picture.data(), {got.data(), &s}}, between(random, 1, 3));
    CHECK(got == expected);

    test::Floats back(picture.size()), naive_back(picture.size());
    naive::leave_lanes({{got.data(), &s}, naive_back.data()});
    test::run(kernels.leave_lanes, {{got.data(), &s}, back.data()}, between(random, 1, 3));
    CHECK(naive_back == picture);
    CHECK(back == picture);
  }
}

void fills_halos(const Kernels& kernels) {
  test::Random random(2);
  for (int round = 0; round < 200; ++round) {
    const LaneShape s = random_shape(random, kernels.lanes);
    const float beyond = round % 2 == 0 ? 0.0f : -INFINITY;
    test::Floats got = test::random_floats(random, test::size_of(s));
    test::Floats expected = got;
    naive::fill_halo({{expected.data(), &s}, beyond});
    test::run(kernels.fill_halo, {{got.data(), &s}, beyond}, between(random, 1, 3));
    CHECK(got == expected);
  }
}

// More vectors in the halo than are listed at once.
void fills_a_halo_of_many_vectors(const Kernels& kernels) {
  test::Random random(3);
  LaneShape s = random_shape(random, kernels.lanes);
  s.height = 70 * s.grid_h - 3;
  s.tile_h = 70;
  s.halo = {9, 9, 9, 9};
  test::Floats got = test::random_floats(random, test::size_of(s));
  test::Floats expected = got;
  naive::fill_halo({{expected.data(), &s}, 0.0f});
  test::run(kernels.fill_halo, {{got.data(), &s}, 0.0f});
  CHECK(got == expected);
}

void halos_are_as_wide_as_what_is_read() {
  ConvShape conv;
  conv.kernel_h = 3;
  conv.kernel_w = 5;
  conv.pad_top = 1;
  conv.stride_w = 2;
  const Halo halo = halo_for(conv, 7, 4);
  CHECK(halo.top == 1 && halo.bottom == 1);
  CHECK(halo.left == 0 && halo.right == 3);  // the last window begins at 6 and ends at 10, of 8 pixels
  conv = {};
  conv.stride_h = conv.stride_w = 2;
  const Halo none = halo_for(conv, 7, 4);
  CHECK(none.top == 0 && none.left == 0 && none.bottom == 0 && none.right == 0);
}

}  // namespace

int main() {
  test::for_each_isa(enters_and_leaves);
  test::for_each_isa(fills_halos);
  test::for_each_isa(fills_a_halo_of_many_vectors);
  halos_are_as_wide_as_what_is_read();
  return test::finish();
}
