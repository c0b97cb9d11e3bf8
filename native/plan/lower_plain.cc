// Operations over plain arrays: each fills in the struct of kernels/plain/plain.h.
#include <algorithm>
#include <string>

#include "plan/builder.h"

namespace featherweight {
namespace {

// Nanoseconds on one thread; rough, they decide only what is shared.
constexpr double kElement = 0.3, kSlowElement = 2.0, kPlainMac = 0.5;

plain::Shape plain_shape(const Shape& shape) noexcept {
  plain::Shape out;
  out.rank = static_cast<int>(shape.size());
  std::copy(shape.begin(), shape.end(), out.dims);
  return out;
}

plain::ElementType element_type(Dtype dtype) noexcept {
  switch (dtype) {
    case Dtype::kInt64: return plain::ElementType::kInt64;
    case Dtype::kInt32: return plain::ElementType::kInt32;
    case Dtype::kUint8: return plain::ElementType::kUint8;
    case Dtype::kBool: return plain::ElementType::kBool;
    default: return plain::ElementType::kFloat32;
  }
}

plain::Picture picture(const Shape& shape) noexcept { return {shape[1], shape[2], shape[3]}; }

class PlainLowering {
 public:
  PlainLowering(Builder& builder, const Operation& operation) : b_(builder), o_(operation) {}

  Status operator()(const ConvAttributes& a) {
    const Shape& weight = b_.constant(o_.weight).shape();
    const BufferId x = input(0), residual = o_.inputs.size() == 2 ? input(1) : kNone;
    const double macs = elements(out()) * static_cast<double>(weight[1] * weight[2] * weight[3]);
    auto& step = add(&plain::conv, "plain_conv", kPlainMac * macs);
    step.args.conv = conv_shape(a.window, a.groups, weight[2], weight[3]);
    step.args.batch = in()[0];
    step.args.in_size = picture(in());
    step.args.out_size = picture(out());
    step.args.weight = b_.dense(o_.weight);
    step.args.bias = b_.dense(o_.bias);
    if (residual != kNone) b_.bind(step.args.residual, residual);
    step.args.finish = finish();
    step.info.macs = step.info.macs_done = static_cast<std::int64_t>(macs);
    return ends(step, x);
  }

  Status operator()(const ConvTransposeAttributes& a) {
    const Shape& weight = b_.constant(o_.weight).shape();
    const BufferId x = input(0);
    const double macs = elements(in()) * static_cast<double>(weight[1] * weight[2] * weight[3]);
    auto& step = add(&plain::conv_transpose, "conv_transpose", kPlainMac * macs);
    step.args.conv = conv_shape(a.window, a.groups, weight[2], weight[3]);
    step.args.batch = in()[0];
    step.args.in_size = picture(in());
    step.args.out_size = picture(out());
    auto packed = b_.packed(o_.weight, &plain::pack_conv_transpose, a.groups);
    step.args.packed = packed.get();
    step.owned = std::move(packed);
    step.args.bias = b_.dense(o_.bias);
    step.args.kernel = b_.kernels().matmul;
    step.args.finish = finish();
    step.info.macs = step.info.macs_done = static_cast<std::int64_t>(macs);
    return ends(step, x);
  }

  Status operator()(const LinearAttributes&) { return {Code::kGraph, "is not plain"}; }  // lower_linear has it

  Status operator()(const MatMulAttributes&) {
    const BufferId a = input(0), b = input(1);
    const double macs = elements(out()) * static_cast<double>(in().back());
    auto& step = add(&plain::matmul, "matmul", kPlainMac * macs);
    step.args.a_shape = plain_shape(b_.shape(o_.inputs[0]));
    step.args.b_shape = plain_shape(b_.shape(o_.inputs[1]));
    step.args.kernel = b_.kernels().matmul;
    b_.bind(step.args.a, a);
    b_.bind(step.args.b, b);
    b_.bind(step.args.out, b_.make_plain(o_.output));
    step.info.macs = step.info.macs_done = static_cast<std::int64_t>(macs);
    return {};
  }

  Status operator()(const PoolAttributes& a) {
    const BufferId x = input(0);
    auto& step =
        add(&plain::pool, "plain_pool", kElement * elements(out()) * a.window.kernel[0] * a.window.kernel[1]);
    step.args.kind = a.kind;
    step.args.window = conv_shape(a.window, 1, a.window.kernel[0], a.window.kernel[1]);
    step.args.count_pads = a.count_pads;
    step.args.pad_bottom = a.window.pads[2];
    step.args.pad_right = a.window.pads[3];
    step.args.batch = in()[0];
    step.args.in_size = picture(in());
    step.args.out_size = picture(out());
    return ends(step, x);
  }

  Status operator()(const GlobalPoolAttributes& a) {
    const BufferId x = input(0);
    auto& step = add(&plain::global_pool, "plain_global_pool", kElement * elements(in()));
    step.args.kind = a.kind;
    step.args.planes = in()[0] * in()[1];
    step.args.inner = in()[2] * in()[3];
    return ends(step, x);
  }

  Status operator()(const UnaryAttributes&) {
    const BufferId x = input(0);
    auto& step = add(b_.kernels().unary, "unary", kSlowElement * elements(out()));
    step.args.size = count(out());
    step.args.activation = o_.activation;
    return ends(step, x);
  }

  Status operator()(const BinaryAttributes& a) {
    const BufferId x = input(0), y = o_.inputs.size() == 2 ? input(1) : kNone;
    auto& step = add(&plain::binary, "binary", kElement * elements(out()));
    const float*& constant = a.swapped ? step.args.a : step.args.b;
    plain::Shape& constant_shape = a.swapped ? step.args.a_shape : step.args.b_shape;
    step.args.kind = a.kind;
    (a.swapped ? step.args.b_shape : step.args.a_shape) = plain_shape(in());
    b_.bind(a.swapped ? step.args.b : step.args.a, x);
    constant_shape = plain_shape(y != kNone ? b_.shape(o_.inputs[1]) : b_.constant(o_.weight).shape());
    if (y != kNone)
      b_.bind(constant, y);
    else
      constant = b_.dense(o_.weight);
    step.args.out_shape = plain_shape(out());
    step.args.finish = finish();
    b_.bind(step.args.out, b_.make_plain(o_.output));
    return {};
  }

  Status operator()(const AffineAttributes&) {
    const BufferId x = input(0);
    auto& step = add(&plain::affine, "affine", kElement * elements(out()));
    step.args.scale = b_.dense(o_.weight);
    step.args.shift = b_.dense(o_.bias);
    step.args.batch = in()[0];
    step.args.channels = in()[1];
    step.args.inner = count(in(), 2, in().size());
    step.args.finish = finish();
    return ends(step, x);
  }

  Status operator()(const ConcatAttributes& a) {
    const std::size_t axis = static_cast<std::size_t>(a.axis);
    std::vector<BufferId> inputs;
    for (std::size_t i = 0; i < o_.inputs.size(); ++i) inputs.push_back(input(i));
    const BufferId to = b_.make_plain(o_.output);
    std::int64_t first = 0;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const Shape& shape = b_.shape(o_.inputs[i]);
      if (count(shape) == 0) continue;
      auto& step = add(&plain::concat, "concat", kElement * elements(shape));
      step.args.first = first;
      step.args.size = shape[axis];
      step.args.out_shape = plain_shape(out());
      step.args.axis = static_cast<int>(axis);
      b_.bind(step.args.in, inputs[i]);
      b_.bind(step.args.out, to);
      first += shape[axis];
    }
    return {};
  }

  Status operator()(const SliceAttributes& a) {
    const BufferId x = input(0);
    auto& step = add(&plain::slice, "slice", kElement * elements(out()));
    step.args.in_shape = plain_shape(in());
    for (std::size_t axis = 0; axis < in().size(); ++axis) step.args.axes[axis] = {0, 1, in()[axis]};
    for (std::size_t i = 0; i < a.axes.size(); ++i) {
      const std::size_t axis = static_cast<std::size_t>(a.axes[i]);
      step.args.axes[axis] = plain::slice_axis(in()[axis], a.starts[i], a.ends[i], a.steps[i]);
    }
    return ends(step, x);
  }

  Status operator()(const PadAttributes& a) {
    const BufferId x = input(0);
    auto& step = add(&plain::pad, "pad", kElement * elements(out()));
    step.args.mode = a.mode;
    step.args.value = a.value;
    step.args.in_shape = plain_shape(in());
    step.args.out_shape = plain_shape(out());
    std::copy(a.pads.begin(), a.pads.begin() + static_cast<std::ptrdiff_t>(in().size()), step.args.before);
    return ends(step, x);
  }

  Status operator()(const ResizeAttributes& a) {
    const BufferId x = input(0);
    auto& step = add(&plain::resize, "resize", kSlowElement * elements(out()));
    step.args.mode = a.mode;
    step.args.coordinates = a.coordinates;
    step.args.rounding = a.rounding;
    step.args.planes = in()[0] * in()[1];
    const auto along = [&](std::size_t axis) {
      const std::int64_t from = in()[2 + axis], to = out()[2 + axis];
      const double scale = a.scales.empty() ? static_cast<double>(to) / static_cast<double>(from) : a.scales[axis];
      return plain::ResizeAxis{from, to, static_cast<float>(scale)};
    };
    step.args.height = along(0);
    step.args.width = along(1);
    return ends(step, x);
  }

  Status operator()(const ReshapeAttributes&) {
    b_.alias(o_.output, o_.inputs[0]);
    return {};
  }

  Status operator()(const TransposeAttributes& a) {
    const BufferId x = input(0);
    auto& step = add(&plain::transpose, "transpose", kElement * elements(out()));
    step.args.in_shape = plain_shape(in());
    for (std::size_t axis = 0; axis < a.permutation.size(); ++axis)
      step.args.permutation[axis] = static_cast<int>(a.permutation[axis]);
    return ends(step, x);
  }

  Status operator()(const ReduceMeanAttributes& a) {
    const BufferId x = input(0);
    auto& step = add(&plain::reduce_mean, "reduce_mean", kElement * elements(in()));
    step.args.in_shape = plain_shape(in());
    for (const std::int64_t axis : a.axes) step.args.reduced[static_cast<std::size_t>(axis)] = true;
    return ends(step, x);
  }

  Status operator()(const SoftmaxAttributes& a) {
    const BufferId x = input(0);
    auto& step = add(&plain::softmax, a.log ? "log_softmax" : "softmax", kSlowElement * elements(out()));
    step.args.log = a.log;
    set_axis(step.args, a.axis);
    step.args.unary = b_.kernels().unary;
    return ends(step, x);
  }

  Status operator()(const NormalizeAttributes& a) {
    const BufferId x = input(0);
    auto& step = add(&plain::normalize, "normalize", 3 * kElement * elements(out()));
    set_axis(step.args, a.axis);
    step.args.epsilon = a.epsilon;
    return ends(step, x);
  }

  Status operator()(const DepthToSpaceAttributes& a) {
    const BufferId x = input(0);
    auto& step = add(&plain::depth_to_space, "depth_to_space", kElement * elements(out()));
    step.args.mode = a.mode;
    step.args.block = a.block;
    step.args.in_shape = plain_shape(in());
    return ends(step, x);
  }

  // A transposition of (N, groups, C / groups, pixels).
  Status operator()(const ChannelShuffleAttributes& a) {
    const BufferId x = input(0);
    auto& step = add(&plain::transpose, "channel_shuffle", kElement * elements(out()));
    const Shape& shape = in();
    step.args.in_shape =
        plain_shape({shape[0], a.groups, shape[1] / a.groups, count(shape, 2, shape.size())});
    constexpr int kPermutation[] = {0, 2, 1, 3};
    std::copy(std::begin(kPermutation), std::end(kPermutation), step.args.permutation);
    return ends(step, x);
  }

  Status operator()(const ArgMaxAttributes& a) {
    const BufferId x = input(0);
    auto& step = add(&plain::arg_max, "arg_max", kElement * elements(in()));
    set_axis(step.args, a.axis);
    return ends(step, x);
  }

  Status operator()(const CastAttributes& a) {
    const BufferId x = input(0);
    auto& step = add(&plain::cast, "cast", kElement * elements(out()));
    step.args.in_type = element_type(b_.dtype(o_.inputs[0]));
    step.args.out_type = element_type(a.dtype);
    step.args.size = count(out());
    return ends(step, x);
  }

 private:
  const Shape& in() const { return b_.shape(o_.inputs[0]); }
  const Shape& out() const { return b_.shape(o_.output); }
  BufferId input(std::size_t index) { return b_.plain(o_.inputs[index]); }
  plain::Finish finish() const { return {o_.activation, b_.kernels().unary}; }
  static double elements(const Shape& shape) { return static_cast<double>(count(shape)); }

  template <class Arguments>
  KernelStep<Arguments>& add(void (*kernel)(const Arguments&, Part) noexcept, const char* name, double estimate) {
    return b_.add(kernel, name, estimate);
  }
  template <class Arguments>
  void set_axis(Arguments& args, std::int64_t given) const {
    const std::size_t axis = static_cast<std::size_t>(given);
    args.outer = count(in(), 0, axis);
    args.size = in()[axis];
    args.inner = count(in(), axis + 1, in().size());
  }
  // Binds what most operations end with.
  template <class Arguments>
  Status ends(KernelStep<Arguments>& step, BufferId x) {
    b_.bind(step.args.in, x);
    b_.bind(step.args.out, b_.make_plain(o_.output));
    return {};
  }

  Builder& b_;
  const Operation& o_;
};

}  // namespace

Status lower_plain(Builder& builder, const Operation& operation) {
  return std::visit(PlainLowering(builder, operation), operation.attributes);
}

}  // namespace featherweight
