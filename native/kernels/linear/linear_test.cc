#include <cmath>

#include "kernels/linear/dense.h"
#include "kernels/linear/naive.h"
#include "kernels/linear/sparse.h"
#include "kernels/testing.h"

using namespace featherweight;
using test::between;
using test::Floats;

namespace {

std::size_t product(std::int64_t a, std::int64_t b) { return static_cast<std::size_t>(a * b); }

bool near(const Floats& got, const Floats& expected) {
  for (std::size_t i = 0; i < got.size(); ++i)
    if (!(std::fabs(got[i] - expected[i]) <= 2e-5f * (1.0f + std::fabs(expected[i])))) {
      std::fprintf(stderr, "at %zu: %g, expected %g\n", i, double{got[i]}, double{expected[i]});
      return false;
    }
  return true;
}

// A linear layer of random sizes, and everything that a kernel is given.
struct LinearCase {
  int batch, outputs, inputs;
  Floats weights, in, bias, residual, expected;
  Activation activation;
};

LinearCase random_case(test::Random& random, int most_batch, double density) {
  LinearCase c;
  c.batch = between(random, 1, most_batch);
  c.outputs = between(random, 1, 170);
  c.inputs = between(random, 1, 300);
  c.weights = test::random_floats(random, product(c.outputs, c.inputs));
  std::bernoulli_distribution keep(density);
  for (float& w : c.weights) w = keep(random) ? w : 0.0f;
  c.in = test::random_floats(random, product(c.batch, c.inputs));
  if (between(random, 0, 1) == 1) c.bias = test::random_floats(random, static_cast<std::size_t>(c.outputs));
  if (between(random, 0, 1) == 1) c.residual = test::random_floats(random, product(c.batch, c.outputs));
  const Activation activations[] = {
      {}, {ActivationKind::kRelu}, {ActivationKind::kClip, -0.5f, 1.5f}, {ActivationKind::kGelu}};
  c.activation = activations[between(random, 0, 3)];
  c.expected.resize(product(c.batch, c.outputs));
  return c;
}

template <class Packed>
Linear<Packed> operation(const LinearCase& c, const Packed* packed, Floats* out) {
  Linear<Packed> op;
  op.packed = packed;
  op.batch = c.batch;
  op.in = c.in.data();
  op.out = out->data();
  op.bias = c.bias.empty() ? nullptr : c.bias.data();
  op.residual = c.residual.empty() ? nullptr : c.residual.data();
  op.activation = c.activation;
  return op;
}

DenseWeights weights_of(const LinearCase& c) { return {c.weights.data(), c.outputs, c.inputs}; }

void dense(const Kernels& kernels) {
  test::Random random(1);
  for (int round = 0; round < 60; ++round) {
    LinearCase c = random_case(random, 40, 1.0);
    naive::linear(operation<PackedDenseLinear>(c, nullptr, &c.expected), weights_of(c));
    const PackedDenseLinear packed = pack_dense_linear(weights_of(c), kernels.lanes);
    Floats got(c.expected.size(), 7.0f), again(c.expected.size(), 7.0f);
    test::run(kernels.dense_linear, operation(c, &packed, &got));
    CHECK(near(got, c.expected));
    test::run(kernels.dense_linear, operation(c, &packed, &again), between(random, 2, 3));
    CHECK(again == got);
  }
}

// The nonzeros of dense weights.
struct Nonzeros {
  std::vector<float> values;
  std::vector<std::int32_t> columns;
  std::vector<std::int64_t> starts{0};
  SparseWeights weights;

  explicit Nonzeros(const DenseWeights& dense) {
    for (int m = 0; m < dense.rows; ++m) {
      for (int k = 0; k < dense.columns; ++k) {
        const float w = dense.values[std::int64_t{m} * dense.columns + k];
        if (w == 0.0f) continue;
        values.push_back(w);
        columns.push_back(k);
      }
      starts.push_back(static_cast<std::int64_t>(values.size()));
    }
    weights = {values.data(), columns.data(), starts.data(), dense.rows, dense.columns};
  }
};

void check_sparse(const Kernels& kernels, test::Random& random, const LinearCase& c, int packed_for) {
  const Nonzeros nonzeros(weights_of(c));
  const PackedSparseLinear packed = pack_sparse_linear(nonzeros.weights, kernels.lanes, packed_for);
  const int parts = between(random, 2, 3);
  Floats got(c.expected.size(), 7.0f), again(c.expected.size(), 7.0f);
  Floats scratch(static_cast<std::size_t>(sparse_linear_scratch(packed, parts)), NAN);
  SparseLinear op = operation(c, &packed, &got);
  op.scratch = scratch.data();
  test::run(kernels.sparse_linear, op);
  CHECK(near(got, c.expected));
  op.out = again.data();
  test::run(kernels.sparse_linear, op, parts);
  CHECK(again == got);
}

void sparse(const Kernels& kernels) {
  test::Random random(3);
  const double densities[] = {0.0, 0.02, 0.1, 0.5, 1.0};
  for (int round = 0; round < 100; ++round) {
    LinearCase c = random_case(random, round % 2 == 0 ? 5 : 12 * kernels.lanes, densities[round % 5]);
    naive::linear(operation<PackedSparseLinear>(c, nullptr, &c.expected), weights_of(c));
    // It is right for other batches than it was packed for.
    check_sparse(kernels, random, c, round % 5 == 0 ? between(random, 1, 100) : c.batch);
  }
}

// Columns that do not fit 16 bits.
void wide(const Kernels& kernels) {
  test::Random random(4);
  LinearCase c = random_case(random, 1, 1.0);
  c.bias.clear();
  c.residual.clear();
  c.outputs = 3;
  c.inputs = 70000;
  c.weights = Floats(product(c.outputs, c.inputs), 0.0f);
  for (int i = 0; i < 300; ++i) c.weights[static_cast<std::size_t>(between(random, 0, 209999))] = 0.5f;
  c.in = test::random_floats(random, static_cast<std::size_t>(c.inputs));
  c.expected.assign(3, 0.0f);
  naive::linear(operation<PackedSparseLinear>(c, nullptr, &c.expected), weights_of(c));
  check_sparse(kernels, random, c, 1);
}

// Matrices that are parts of larger ones; what lies between their rows stays as it is.
void products(const Kernels& kernels) {
  test::Random random(2);
  for (int round = 0; round < 60; ++round) {
    MatMul op;
    op.rows = between(random, 1, 40);
    op.depth = between(random, 0, 4) == 0 ? between(random, 500, 600) : between(random, 0, 70);
    op.columns = between(random, 1, 90);
    const bool a_transposed = between(random, 0, 1) == 1, b_transposed = between(random, 0, 1) == 1;
    const std::int64_t gap = between(random, 0, 3);
    op.a_row = a_transposed ? 1 : op.depth + gap;
    op.a_column = a_transposed ? op.rows + gap : 1;
    op.b_row = b_transposed ? 1 : op.columns + gap;
    op.b_column = b_transposed ? op.depth + gap : 1;
    op.out_row = op.columns + gap;
    const Floats a = test::random_floats(random, product(op.rows + gap, op.depth + gap) + 1);
    const Floats b = test::random_floats(random, product(op.depth + gap, op.columns + gap) + 1);
    op.a = a.data();
    op.b = b.data();
    Floats expected(product(op.rows, op.out_row), 7.0f), got = expected, again = expected;
    op.out = expected.data();
    naive::matmul(op);
    op.out = got.data();
    test::run(kernels.matmul, op);
    CHECK(near(got, expected));
    op.out = again.data();
    test::run(kernels.matmul, op, between(random, 2, 3));
    CHECK(again == got);
  }
}

}  // namespace

int main() {
  test::for_each_isa(dense);
  test::for_each_isa(sparse);
  test::for_each_isa(wide);
  test::for_each_isa(products);
  return test::finish();
}
