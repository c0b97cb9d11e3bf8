#include <cmath>

#include "kernels/layout/naive.h"
#include "kernels/pool/naive.h"
#include "kernels/testing.h"

using namespace featherweight;
using test::between;
using test::Floats;

namespace {

struct PoolCase {
  LaneShape in_shape, out_shape;
  Floats picture, in;
  Pool op;
};

std::size_t pixels(const LaneShape& s) {
  return static_cast<std::size_t>(s.batch) * static_cast<std::size_t>(s.channels * s.height * s.width);
}

ConvShape random_window(test::Random& random, PoolKind kind) {
  ConvShape w;
  w.kernel_h = between(random, 1, 4);
  w.kernel_w = between(random, 1, 4);
  w.stride_h = between(random, 1, 3);
  w.stride_w = between(random, 1, 3);
  w.pad_top = between(random, 0, w.kernel_h - 1);
  w.pad_left = between(random, 0, w.kernel_w - 1);
  if (kind == PoolKind::kMax) w.dilation_h = w.dilation_w = between(random, 1, 2);
  return w;
}

// What fits, rounded up with `ceil`, but no window that begins behind the picture.
int outputs(int size, int before, int after, int span, int stride, bool ceil) {
  const int room = std::max(0, size + before + after - span);
  int count = (room + (ceil ? stride - 1 : 0)) / stride + 1;
  while (count > 1 && (count - 1) * stride >= size + before) --count;
  return count;
}

PoolCase random_case(test::Random& random, int lanes) {
  PoolCase c;
  Pool& op = c.op;
  op.kind = between(random, 0, 1) == 1 ? PoolKind::kMax : PoolKind::kAverage;
  op.window = random_window(random, op.kind);
  op.count_pads = between(random, 0, 1) == 1;
  op.pad_bottom = between(random, 0, op.window.kernel_h - 1);
  op.pad_right = between(random, 0, op.window.kernel_w - 1);
  const bool ceil = between(random, 0, 1) == 1;
  LaneShape &in = c.in_shape, &out = c.out_shape;
  test::random_grid(random, lanes, &in);
  in.batch = between(random, 1, 3);
  in.channels = between(random, 1, 4);
  in.height = between(random, 1, 40);
  in.width = between(random, 1, 40);
  out = in;
  const ConvShape& w = op.window;
  out.height = outputs(in.height, w.pad_top, op.pad_bottom, (w.kernel_h - 1) * w.dilation_h + 1, w.stride_h, ceil);
  out.width = outputs(in.width, w.pad_left, op.pad_right, (w.kernel_w - 1) * w.dilation_w + 1, w.stride_w, ceil);
  in.tile_n = out.tile_n = test::tile_for(in.batch, in.grid_n);
  // The input's tiles cover it, too.
  out.tile_h = test::tile_for(std::max(out.height, test::tile_for(in.height, w.stride_h)), in.grid_h);
  out.tile_w = test::tile_for(std::max(out.width, test::tile_for(in.width, w.stride_w)), in.grid_w);
  in.tile_h = out.tile_h * w.stride_h;
  in.tile_w = out.tile_w * w.stride_w;
  in.halo = halo_for(w, out.tile_h, out.tile_w);
  out.halo = {between(random, 0, 1), between(random, 0, 1), between(random, 0, 1), between(random, 0, 1)};
  c.picture = test::random_floats(random, pixels(in));
  c.in = Floats(test::size_of(in), NAN);
  naive::enter_lanes({c.picture.data(), {c.in.data(), &in}});
  naive::fill_halo({{c.in.data(), &in}, op.kind == PoolKind::kMax ? -INFINITY : 0.0f});
  return c;
}

bool near(const Floats& got, const Floats& expected) {
  for (std::size_t i = 0; i < got.size(); ++i)
    if (!(got[i] == expected[i] || std::fabs(got[i] - expected[i]) <= 1e-6f)) {
      std::fprintf(stderr, "at %zu: %g, expected %g\n", i, double{got[i]}, double{expected[i]});
      return false;
    }
  return true;
}

void pools(const Kernels& kernels) {
  test::Random random(1);
  for (int round = 0; round < 200; ++round) {
    PoolCase c = random_case(random, kernels.lanes);
    Floats out(test::size_of(c.out_shape), 7.0f), got(pixels(c.out_shape)), expected(pixels(c.out_shape));
    c.op.in = {c.in.data(), &c.in_shape};
    c.op.out = {out.data(), &c.out_shape};
    test::run(kernels.pool, c.op, between(random, 1, 3));
    naive::leave_lanes({{out.data(), &c.out_shape}, got.data()});
    naive::pool(c.op, c.picture.data(), expected.data());
    CHECK(near(got, expected));
  }
}

// What overhangs the picture is not a number, and must not be looked at.
void global_pools(const Kernels& kernels) {
  test::Random random(2);
  for (int round = 0; round < 100; ++round) {
    PoolCase c = random_case(random, kernels.lanes);
    const LaneShape& s = c.in_shape;
    Floats in(test::size_of(s), NAN);
    naive::enter_lanes({c.picture.data(), {in.data(), &s}});
    const std::size_t planes = static_cast<std::size_t>(s.batch * s.channels);
    Floats got(planes, 7.0f), expected(planes);
    test::run(kernels.global_pool, {c.op.kind, {in.data(), &s}, got.data()}, between(random, 1, 3));
    naive::global_pool(c.op.kind, s, c.picture.data(), expected.data());
    CHECK(near(got, expected));
  }
}

}  // namespace

int main() {
  test::for_each_isa(pools);
  test::for_each_isa(global_pools);
  return test::finish();
}
