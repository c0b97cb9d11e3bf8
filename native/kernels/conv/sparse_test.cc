#include "kernels/conv/sparse.h"

#include "kernels/conv/testing.h"

using namespace featherweight;
using test::between;
using test::Groups;

namespace {

void check(const Kernels& kernels, test::Random& random, const ConvProblem& problem, double density, Blocks blocks) {
  test::ConvCase c;
  c.problem = problem;
  test::fill(c, random, density);
  const test::SparseStorage weights(c.weights, problem.out.channels);
  const PackedSparseConv packed = pack_sparse_conv(weights.view, problem, blocks);
  test::check_conv(kernels.sparse_conv, packed, c, between(random, 1, 3));
}

void random_problems(const Kernels& kernels) {
  test::Random random(1);
  const double densities[] = {0.0, 0.02, 0.1, 0.3, 1.0};
  for (int round = 0; round < 400; ++round) {
    const Blocks blocks{between(random, 0, 28), between(random, 0, 10)};
    const Groups groups = round % 3 == 0 ? Groups::kSome : Groups::kOne;
    check(kernels, random, test::random_problem(random, kernels.lanes, groups), densities[round % 5], blocks);
  }
}

// Every register tile that is compiled, at each stride.
void every_register_tile(const Kernels& kernels) {
  test::Random random(2);
  for (int stride = 1; stride <= 3; ++stride)
    for (int rows = 1; rows <= 8; ++rows)
      for (int columns = 1; columns <= 28; ++columns) {
        if (!has_tile(kernels.lanes, stride, rows, columns)) continue;
        ConvProblem p;
        p.conv.stride_h = p.conv.stride_w = stride;
        p.conv.kernel_h = p.conv.kernel_w = 2;
        LaneShape& out = p.out;
        out.lanes = out.grid_w = kernels.lanes;
        out.batch = out.tile_n = 1;
        out.channels = 3;
        out.height = out.tile_h = rows;
        out.tile_w = columns;
        out.width = columns * kernels.lanes - 1;
        p.in = out;
        p.in.channels = 5;
        p.in.height = p.in.tile_h = rows * stride;
        p.in.tile_w = columns * stride;
        p.in.width = out.width * stride;
        p.in.halo = halo_for(p.conv, rows, columns);
        check(kernels, random, p, 0.4, {rows * columns, 2});
      }
}

// The number of parts changes nothing, not even the last digit.
void parts_do_not_matter(const Kernels& kernels) {
  test::Random random(3);
  for (int round = 0; round < 20; ++round) {
    test::ConvCase c;
    c.problem = test::random_problem(random, kernels.lanes, Groups::kOne);
    test::fill(c, random, 0.3);
    const test::SparseStorage weights(c.weights, c.problem.out.channels);
    const PackedSparseConv packed = pack_sparse_conv(weights.view, c.problem, {0, 3});
    test::Floats first;
    for (int parts = 1; parts <= 7; ++parts) {
      test::Floats out(test::size_of(c.problem.out), 0.0f);
      test::run(kernels.sparse_conv, {&packed, c.in.data(), out.data(), c.epilogue}, parts);
      if (parts == 1) first = out;
      CHECK(out == first);
    }
  }
}

}  // namespace

int main() {
  test::for_each_isa(random_problems);
  test::for_each_isa(every_register_tile);
  test::for_each_isa(parts_do_not_matter);
  return test::finish();
}
