// `linear`, and the convolutions that are one: whose kernel covers the picture, so that each output is one product.
#include <algorithm>

#include "kernels/linear/dense.h"
#include "kernels/linear/sparse.h"
#include "plan/builder.h"

namespace featherweight {
namespace {

constexpr double kDenseMac = 0.02, kSparseMac = 0.05, kPlainMac = 0.5;  // nanoseconds on one thread

struct Product {
  std::int64_t batch = 0, inputs = 0, outputs = 0;  // B, K, M
  KernelChoice kernel = KernelChoice::kAuto;
};

Product product_of(const Builder& b, const Operation& o) {
  const Constant& weight = b.constant(o.weight);
  Product p;
  p.outputs = weight.shape()[0];
  p.inputs = p.outputs == 0 ? 0 : weight.elements() / p.outputs;
  p.batch = p.outputs == 0 ? 0 : count(b.shape(o.output)) / p.outputs;
  if (const auto* conv = std::get_if<ConvAttributes>(&o.attributes)) p.kernel = conv->kernel;
  if (const auto* linear = std::get_if<LinearAttributes>(&o.attributes)) p.kernel = linear->kernel;
  return p;
}

// The reference: a convolution of 1x1 over B pictures of one pixel.
void add_plain(Builder& b, const Operation& o, const Product& p, BufferId x, BufferId residual) {
  auto& step = b.add(&plain::conv, "plain_linear", kPlainMac * static_cast<double>(p.batch * p.inputs * p.outputs));
  step.args.batch = p.batch;
  step.args.in_size = {p.inputs, 1, 1};
  step.args.out_size = {p.outputs, 1, 1};
  step.args.weight = b.dense(o.weight);
  step.args.bias = b.dense(o.bias);
  step.args.finish = {o.activation, b.kernels().unary};
  b.bind(step.args.in, x);
  if (residual != kNone) b.bind(step.args.residual, residual);
  b.bind(step.args.out, b.make_plain(o.output));
}

struct Operands {
  BufferId x = kNone, residual = kNone;
  std::int64_t weights = 0;  // that are multiplied
};

template <class Packed>
void add_packed(Builder& b, const Operation& o, const Product& p, Operands operands,
                KernelStep<Linear<Packed>>& step, std::shared_ptr<const Packed> packed) {
  step.args.packed = packed.get();
  step.owned = std::move(packed);
  step.args.batch = p.batch;
  step.args.bias = b.dense(o.bias);
  step.args.activation = o.activation;
  b.bind(step.args.in, operands.x);
  if (operands.residual != kNone) b.bind(step.args.residual, operands.residual);
  b.bind(step.args.out, b.make_plain(o.output));
  step.info.macs = p.batch * p.inputs * p.outputs;
  step.info.macs_done = p.batch * operands.weights;
}

}  // namespace

Status lower_linear(Builder& b, const Operation& o) {
  const Product p = product_of(b, o);
  const Constant& weight = b.constant(o.weight);
  const BufferId x = b.plain(o.inputs[0]);
  const BufferId residual = o.inputs.size() == 2 ? b.plain(o.inputs[1]) : kNone;
  if (b.options().force_plain || p.inputs == 0) {
    add_plain(b, o, p, x, residual);
    return {};
  }
  const double batch = static_cast<double>(p.batch);
  if (!is_sparse(p.kernel, weight)) {
    auto packed = b.packed(o.weight, &pack_dense_linear, b.kernels().lanes);
    auto& step =
        b.add(b.kernels().dense_linear, "dense_linear", kDenseMac * batch * static_cast<double>(weight.elements()));
    add_packed(b, o, p, {x, residual, weight.elements()}, step, std::move(packed));
    return {};
  }
  auto packed = b.packed(o.weight, &pack_sparse_linear, b.kernels().lanes, p.batch);
  auto& step = b.add(b.kernels().sparse_linear, "sparse_linear",
                     kSparseMac * batch * static_cast<double>(weight.nonzeros()));
  const std::int64_t scratch = sparse_linear_scratch(*packed, step.info.parts);
  add_packed(b, o, p, {x, residual, weight.nonzeros()}, step, std::move(packed));
  if (scratch > 0) b.bind(step.args.scratch, b.make_scratch(scratch * std::int64_t{sizeof(float)}));
  return {};
}

}  // namespace featherweight
