#include "kernels/conv/depthwise.h"

#include "kernels/conv/testing.h"

using namespace featherweight;
using test::between;

namespace {

void random_problems(const Kernels& kernels) {
  test::Random random(1);
  for (int round = 0; round < 300; ++round) {
    test::ConvCase c;
    c.problem = test::random_problem(random, kernels.lanes, test::Groups::kDepthwise);
    test::fill(c, random, round % 4 == 0 ? 0.3 : 1.0);
    const int rows = c.problem.out.channels;
    const DenseWeights weights{c.weights.data(), rows, static_cast<int>(c.weights.size()) / rows};
    const PackedDepthwiseConv packed = pack_depthwise_conv(weights, c.problem, {between(random, 0, 28), between(random, 0, 5)});
    test::check_conv(kernels.depthwise_conv, packed, c, between(random, 1, 3));
  }
}

}  // namespace

int main() {
  test::for_each_isa(random_problems);
  return test::finish();
}
