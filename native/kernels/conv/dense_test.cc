#include "kernels/conv/dense.h"

#include "kernels/conv/testing.h"

using namespace featherweight;
using test::between;
using test::Groups;

namespace {

void check(const Kernels& kernels, test::Random& random, const ConvProblem& problem, Blocks blocks) {
  test::ConvCase c;
  c.problem = problem;
  test::fill(c, random, 0.9);
  const int rows = problem.out.channels;
  const DenseWeights weights{c.weights.data(), rows, static_cast<int>(c.weights.size()) / rows};
  const PackedDenseConv packed = pack_dense_conv(weights, problem, blocks);
  test::check_conv(kernels.dense_conv, packed, c, between(random, 1, 3));
}

void random_problems(const Kernels& kernels) {
  test::Random random(1);
  const Groups groups[] = {Groups::kOne, Groups::kOne, Groups::kSome, Groups::kDepthwise};
  for (int round = 0; round < 400; ++round) {
    const Blocks blocks{between(random, 0, 9), between(random, 0, 10)};
    check(kernels, random, test::random_problem(random, kernels.lanes, groups[round % 4]), blocks);
  }
}

// The number of parts changes nothing, not even the last digit.
void parts_do_not_matter(const Kernels& kernels) {
  test::Random random(3);
  for (int round = 0; round < 20; ++round) {
    test::ConvCase c;
    c.problem = test::random_problem(random, kernels.lanes, Groups::kOne);
    test::fill(c, random, 1.0);
    const int rows = c.problem.out.channels;
    const DenseWeights weights{c.weights.data(), rows, static_cast<int>(c.weights.size()) / rows};
    const PackedDenseConv packed = pack_dense_conv(weights, c.problem, {0, 3});
    test::Floats first;
    for (int parts = 1; parts <= 7; ++parts) {
      test::Floats out(test::size_of(c.problem.out), 0.0f);
      test::run(kernels.dense_conv, {&packed, c.in.data(), out.data(), c.epilogue}, parts);
      if (parts == 1) first = out;
      CHECK(out == first);
    }
  }
}

}  // namespace

int main() {
  test::for_each_isa(random_problems);
  test::for_each_isa(parts_do_not_matter);
  return test::finish();
}
