// Operations over feature maps in lanes.
#include <algorithm>
#include <limits>

#include "kernels/conv/dense.h"
#include "kernels/conv/depthwise.h"
#include "kernels/conv/sparse.h"
#include "plan/builder.h"

namespace featherweight {
namespace {

// Along one axis: whether an output pixel reads beyond the picture at its far end.
bool reads_beyond(std::int64_t out, std::int64_t in, int kernel, int stride, int pad, int dilation) noexcept {
  return (out - 1) * stride - pad + std::int64_t{dilation} * (kernel - 1) >= in;
}

class LaneLowering {
 public:
  LaneLowering(Builder& builder, const Operation& operation) : b_(builder), o_(operation) {}

  Status operator()(const ConvAttributes& a) {
    const Shape& weight = b_.constant(o_.weight).shape();
    ConvShape conv = conv_shape(a.window, a.groups, weight[2], weight[3]);
    if (const auto in = picked_input(a.window, conv)) {
      conv.stride_h = conv.stride_w = 1;
      return add_conv(a, conv, *in);
    }
    LaneMap& in = input(0, a.window.strides[0], a.window.strides[1]);
    if (needs_halo(conv)) b_.fill(in, 0.0f);
    return add_conv(a, conv, in);
  }

  Status operator()(const PoolAttributes& a) {
    const ConvShape window = conv_shape(a.window, 1, a.window.kernel[0], a.window.kernel[1]);
    LaneMap& in = input(0, window.stride_h, window.stride_w);
    const float beyond = a.kind == PoolKind::kMax ? -std::numeric_limits<float>::infinity() : 0.0f;
    if (needs_halo(window)) b_.fill(in, beyond);
    const LaneMap& out = b_.make_lanes(o_.output);
    auto& step = b_.add(b_.kernels().pool, "pool", vectors(out) * kTouched * window.kernel_h * window.kernel_w);
    step.args.kind = a.kind;
    step.args.window = window;
    step.args.count_pads = a.count_pads;
    step.args.pad_bottom = a.window.pads[2];
    step.args.pad_right = a.window.pads[3];
    return ends(step, in, out);
  }

  Status operator()(const GlobalPoolAttributes& a) {
    const LaneMap& in = b_.any_lanes(o_.inputs[0]);
    const BufferId out = b_.make_plain(o_.output);
    auto& step = b_.add(b_.kernels().global_pool, "global_pool", vectors(in) * kTouched);
    step.args.kind = a.kind;
    b_.bind(step.args.in, in);
    b_.bind(step.args.out, out);
    return {};
  }

  Status operator()(const UnaryAttributes&) {
    const LaneMap& in = input(0);
    const LaneMap& out = b_.make_lanes_in_place(o_.output);
    auto& step = b_.add(b_.kernels().lane_unary, "lane_unary", 4 * vectors(out) * kTouched);
    step.args.activation = o_.activation;
    return ends(step, in, out);
  }

  Status operator()(const BinaryAttributes& a) {
    if (b_.mode() == Mode::kAffine) return channel_affine(a);
    const LaneMap &left = input(0), &right = input(1);
    const LaneMap& out = b_.make_lanes_in_place(o_.output);
    auto& step = b_.add(b_.kernels().lane_binary, "lane_binary", vectors(out) * kTouched);
    step.args.kind = a.kind;
    step.args.activation = o_.activation;
    b_.bind(step.args.a, left);
    b_.bind(step.args.b, right);
    b_.bind(step.args.out, out);
    return {};
  }

  Status operator()(const AffineAttributes&) { return affine(input(0), b_.dense(o_.weight), b_.dense(o_.bias)); }

  Status operator()(const ConcatAttributes&) {
    std::vector<const LaneMap*> inputs;
    for (std::size_t i = 0; i < o_.inputs.size(); ++i) inputs.push_back(&input(i));
    const LaneMap& out = b_.make_lanes(o_.output);
    int first = 0;
    for (const LaneMap* in : inputs) {
      copy_channels(*in, 0, out, first, in->shape->channels);
      first += in->shape->channels;
    }
    return {};
  }

  Status operator()(const SliceAttributes& a) {
    const LaneMap& in = input(0);
    const LaneMap& out = b_.make_lanes(o_.output);
    const auto channels = plain::slice_axis(in.shape->channels, a.starts[0], a.ends[0], a.steps[0]);
    copy_channels(in, static_cast<int>(channels.start), out, 0, static_cast<int>(channels.count));
    return {};
  }

  Status operator()(const ChannelShuffleAttributes& a) {
    const LaneMap& in = input(0);
    copy_channels(in, 0, b_.make_lanes(o_.output), 0, in.shape->channels, static_cast<int>(a.groups));
    return {};
  }

  Status operator()(const NormalizeAttributes& a) {
    const LaneMap& in = input(0);
    const LaneMap& out = b_.make_lanes(o_.output);
    auto& step = b_.add(b_.kernels().lane_normalize, "lane_normalize", 3 * vectors(out) * kTouched);
    step.args.epsilon = a.epsilon;
    return ends(step, in, out);
  }

  template <class Other>
  Status operator()(const Other&) {
    return {Code::kGraph, "does not run in lanes"};  // choose_modes has none of them
  }

 private:
  LaneMap& input(std::size_t index, int stride_h = 1, int stride_w = 1) {
    return b_.lanes(o_.inputs[index], b_.tiling().times(stride_h, stride_w));
  }
  // Of all channels of a tile.
  static double vectors(const LaneMap& map) noexcept {
    return double{1} * map.shape->tile_n * map.shape->channels * map.shape->tile_h * map.shape->tile_w;
  }

  // A pointwise convolution with strides reads a part of its input: where tiles have to become others anyway, only
  // that part does.
  std::optional<LaneMap> picked_input(const Window& window, const ConvShape& s) {
    const bool padded = std::any_of(window.pads.begin(), window.pads.end(), [](auto pad) { return pad != 0; });
    const bool strided = s.stride_h > 1 || s.stride_w > 1;
    if (s.kernel_h > 1 || s.kernel_w > 1 || padded || !strided) return {};
    return b_.picked(o_.inputs[0], {s.stride_h, s.stride_w});
  }

  bool needs_halo(const ConvShape& s) const {
    const Halo halo = halo_for(s, b_.tiling().tile_h, b_.tiling().tile_w);
    const Shape &in = b_.shape(o_.inputs[0]), &out = b_.shape(o_.output);
    return halo.top > 0 || halo.left > 0 || halo.bottom > 0 || halo.right > 0 ||
           reads_beyond(out[2], in[2], s.kernel_h, s.stride_h, s.pad_top, s.dilation_h) ||
           reads_beyond(out[3], in[3], s.kernel_w, s.stride_w, s.pad_left, s.dilation_w);
  }

  Status add_conv(const ConvAttributes& a, const ConvShape& conv, const LaneMap& in) {
    const Constant& weight = b_.constant(o_.weight);
    const bool has_residual = o_.inputs.size() == 2;
    const LaneMap* residual = has_residual ? &input(1) : nullptr;
    const bool depthwise = weight.shape()[1] == 1 && a.groups > 1;
    // Sparse kernels begin their sums with the residual, so that its memory can take them.
    const bool over = has_residual && o_.inputs[0] != o_.inputs[1] && !depthwise && is_sparse(a.kernel, weight);
    const LaneMap& out = over ? b_.make_lanes_over(o_.output, o_.inputs[1]) : b_.make_lanes(o_.output);
    const ConvProblem problem{conv, *in.shape, *out.shape};
    const Kernels& k = b_.kernels();
    if (depthwise)
      return conv_step(k.depthwise_conv, {"depthwise_conv", kSparseFma, weight.nonzeros()},
                       b_.packed(o_.weight, &pack_depthwise_conv, problem, a.blocks), in, residual, out);
    if (!is_sparse(a.kernel, weight))
      return conv_step(k.dense_conv, {"dense_conv", kDenseFma, weight.elements()},
                       b_.packed(o_.weight, &pack_dense_conv, problem, a.blocks), in, residual, out);
    return conv_step(k.sparse_conv, {"sparse_conv", kSparseFma, weight.nonzeros()},
                     b_.packed(o_.weight, &pack_sparse_conv, problem, a.blocks), in, residual, out);
  }

  // A convolution kernel: nanoseconds for a vector of its weights, and how many of them it multiplies.
  struct ConvKernel {
    const char* name;
    double fma;
    std::int64_t weights;
  };

  template <class Packed>
  Status conv_step(void (*kernel)(const Convolution<Packed>&, Part) noexcept, ConvKernel is,
                   std::shared_ptr<const Packed> packed, const LaneMap& in, const LaneMap* residual,
                   const LaneMap& out) {
    const double positions = double{1} * out.shape->tile_n * out.shape->tile_h * out.shape->tile_w;
    auto& step = b_.add(kernel, is.name, positions * static_cast<double>(is.weights) * is.fma);
    const Shape& shape = b_.shape(o_.output);
    const std::int64_t pixels = shape[0] * shape[2] * shape[3];
    step.info.macs = pixels * b_.constant(o_.weight).elements();
    step.info.macs_done = pixels * is.weights;
    step.args.packed = packed.get();
    step.owned = std::move(packed);
    step.args.epilogue.bias = b_.dense(o_.bias);
    step.args.epilogue.activation = o_.activation;
    b_.bind(step.args.in, in.buffer);
    b_.bind(step.args.out, out.buffer);
    if (residual != nullptr) b_.bind(step.args.epilogue.residual, *residual);
    return {};
  }

  // (x op b) as x * scale + shift, with b a number for each channel.
  Status channel_affine(const BinaryAttributes& a) {
    const std::size_t map = o_.inputs.size() == 2 && b_.shape(o_.inputs[0]) != b_.shape(o_.output) ? 1 : 0;
    const LaneMap& in = input(map);
    if (o_.inputs.size() == 2) return affine_by_value(a, in, o_.inputs[1 - map], map == 1);
    AlignedVector<float> numbers = b_.constant(o_.weight).dense();
    numbers.resize(static_cast<std::size_t>(in.shape->channels), numbers[0]);  // one number for all, or as many
    const auto each = [&](auto f) {
      std::transform(numbers.begin(), numbers.end(), numbers.begin(), f);
      return b_.keep(numbers);
    };
    const auto minus_one = [&] { return b_.keep(AlignedVector<float>(numbers.size(), -1.0f)); };
    switch (a.kind) {
      case BinaryKind::kAdd: return affine(in, nullptr, b_.keep(numbers));
      case BinaryKind::kMul: return affine(in, b_.keep(numbers), nullptr);
      case BinaryKind::kDiv: return affine(in, each([](float x) { return 1.0f / x; }), nullptr);
      default: break;
    }
    if (a.swapped) return affine(in, minus_one(), b_.keep(numbers));
    return affine(in, nullptr, each([](float x) { return -x; }));
  }

  // `numbers`: (N, C, 1, 1) or (1, C, 1, 1); where they come `first` they are not what divides.
  Status affine_by_value(const BinaryAttributes& a, const LaneMap& in, ValueId numbers, bool first) {
    const bool scales = a.kind == BinaryKind::kMul || a.kind == BinaryKind::kDiv;
    const float* minus_ones = nullptr;
    BufferId buffer = b_.plain(numbers);
    if (a.kind == BinaryKind::kDiv) buffer = number_and(1.0f, a.kind, numbers);
    if (a.kind == BinaryKind::kSub && !first) buffer = number_and(-0.0f, a.kind, numbers);
    if (a.kind == BinaryKind::kSub && first)
      minus_ones = b_.keep(AlignedVector<float>(static_cast<std::size_t>(count(b_.shape(numbers))), -1.0f));
    auto& step = affine_step(in);
    if (minus_ones != nullptr) step.args.scale = minus_ones;
    b_.bind(scales ? step.args.scale : step.args.shift, buffer);
    step.args.by_image = b_.shape(numbers)[0] > 1;
    return {};
  }
  // number op each of the `numbers`: what they are multiplied with or added as.
  BufferId number_and(float number, BinaryKind op, ValueId numbers) {
    const Shape& shape = b_.shape(numbers);
    const BufferId from = b_.plain(numbers);
    const BufferId to = b_.make_scratch(count(shape) * std::int64_t{sizeof(float)});
    auto& step = b_.add(&plain::binary, "binary", static_cast<double>(count(shape)) * kTouched);
    step.args.kind = op;
    step.args.a = b_.keep(AlignedVector<float>(1, number));
    step.args.a_shape.rank = 1;
    step.args.a_shape.dims[0] = 1;
    step.args.b_shape.rank = 4;
    std::copy(shape.begin(), shape.end(), step.args.b_shape.dims);
    step.args.out_shape = step.args.b_shape;
    b_.bind(step.args.b, from);
    b_.bind(step.args.out, to);
    return to;
  }
  Status affine(const LaneMap& in, const float* scale, const float* shift) {
    auto& step = affine_step(in);
    step.args.scale = scale;
    step.args.shift = shift;
    return {};
  }
  KernelStep<LaneAffine>& affine_step(const LaneMap& in) {
    const LaneMap& out = b_.make_lanes_in_place(o_.output);
    auto& step = b_.add(b_.kernels().lane_affine, "lane_affine", vectors(out) * kTouched);
    step.args.activation = o_.activation;
    b_.bind(step.args.in, in);
    b_.bind(step.args.out, out);
    return step;
  }

  void copy_channels(const LaneMap& in, int in_first, const LaneMap& out, int out_first, int channels,
                     int groups = 1) {
    auto& step = b_.add(b_.kernels().lane_copy, "lane_copy", vectors(in) * kTouched);
    step.args.in_first = in_first;
    step.args.out_first = out_first;
    step.args.channels = channels;
    step.args.groups = groups;
    b_.bind(step.args.in, in);
    b_.bind(step.args.out, out);
  }

  template <class Arguments>
  Status ends(KernelStep<Arguments>& step, const LaneMap& in, const LaneMap& out) {
    b_.bind(step.args.in, in);
    b_.bind(step.args.out, out);
    return {};
  }

  Builder& b_;
  const Operation& o_;
};

}  // namespace

Status lower_lanes(Builder& builder, const Operation& operation) {
  return std::visit(LaneLowering(builder, operation), operation.attributes);
}

}  // namespace featherweight
