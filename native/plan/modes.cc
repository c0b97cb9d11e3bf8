#include "plan/modes.h"

#include <algorithm>

namespace featherweight {
namespace {

struct Chooser {
  const Graph& graph;
  const std::vector<ValueType>& types;
  std::vector<bool> in_lanes;  // values

  const Shape& shape(ValueId value) const { return types[static_cast<std::size_t>(value)].shape; }
  const Shape& constant(ConstantId id) const { return graph.constants[static_cast<std::size_t>(id)].shape; }
  bool is_in_lanes(ValueId value) const { return in_lanes[static_cast<std::size_t>(value)]; }

  Mode of(const Operation& o, const ConvAttributes& a) const {
    const Shape& x = shape(o.inputs[0]);
    const Shape& weight = constant(o.weight);
    const bool covers = x[2] == weight[2] && x[3] == weight[3] && a.window.pads == std::array<int, 4>{};
    if (a.groups == 1 && covers) return Mode::kLinear;
    return is_usual(o, a.window, weight[2], weight[3]) ? Mode::kLanes : Mode::kPlain;
  }
  Mode of(const Operation& o, const PoolAttributes& a) const {
    return is_usual(o, a.window, a.window.kernel[0], a.window.kernel[1]) ? Mode::kLanes : Mode::kPlain;
  }
  Mode of(const Operation& o, const GlobalPoolAttributes&) const { return follow(o.inputs[0]); }
  Mode of(const Operation& o, const UnaryAttributes&) const { return follow(o.inputs[0]); }
  Mode of(const Operation& o, const AffineAttributes&) const { return follow(o.inputs[0]); }
  Mode of(const Operation& o, const ChannelShuffleAttributes&) const { return follow(o.inputs[0]); }
  Mode of(const Operation& o, const NormalizeAttributes& a) const {
    return a.axis == 1 ? follow(o.inputs[0]) : Mode::kPlain;
  }
  Mode of(const Operation& o, const ConcatAttributes& a) const {
    const bool channels = shape(o.inputs[0]).size() == 4 && a.axis == 1;
    const bool any = std::any_of(o.inputs.begin(), o.inputs.end(), [&](ValueId v) { return is_in_lanes(v); });
    return channels && any ? Mode::kLanes : Mode::kPlain;
  }
  Mode of(const Operation& o, const SliceAttributes& a) const {
    const bool channels = a.axes.size() == 1 && a.axes[0] == 1 && a.steps[0] == 1;
    return channels ? follow(o.inputs[0]) : Mode::kPlain;
  }
  Mode of(const Operation& o, const BinaryAttributes& a) const {
    const Shape& out = shape(o.output);
    if (o.inputs.size() == 2) {
      const Shape &left = shape(o.inputs[0]), &right = shape(o.inputs[1]);
      if (left == right) return is_in_lanes(o.inputs[0]) || is_in_lanes(o.inputs[1]) ? Mode::kLanes : Mode::kPlain;
      const bool swapped = left != out;
      const ValueId map = o.inputs[swapped ? 1 : 0], other = o.inputs[swapped ? 0 : 1];
      const bool simple = a.kind != BinaryKind::kDiv || !swapped;
      return simple && is_in_lanes(map) && shape(map) == out && is_by_channel(shape(other), out, true)
                 ? Mode::kAffine
                 : Mode::kPlain;
    }
    const bool divides = a.kind == BinaryKind::kDiv && a.swapped;
    const bool map = is_in_lanes(o.inputs[0]) && shape(o.inputs[0]) == out;
    return map && !divides && is_by_channel(constant(o.weight), out, false) ? Mode::kAffine : Mode::kPlain;
  }
  template <class Other>
  Mode of(const Operation&, const Other&) const {
    return Mode::kPlain;
  }

  // Tiles and halos grow with strides and windows: beyond what networks have, plain operations are the better ones.
  bool is_usual(const Operation& o, const Window& window, std::int64_t kernel_h, std::int64_t kernel_w) const {
    constexpr std::int64_t kStride = 16, kReach = 1024, kSizes = 1 << 20;
    const auto within = [](const auto& sizes, std::int64_t most) {
      return std::all_of(sizes.begin(), sizes.end(), [&](std::int64_t size) { return size <= most; });
    };
    return within(window.strides, kStride) && within(window.pads, kReach) && within(shape(o.inputs[0]), kSizes) &&
           within(shape(o.output), kSizes) && kernel_h <= kReach && kernel_w <= kReach &&
           (kernel_h - 1) * window.dilations[0] <= kReach && (kernel_w - 1) * window.dilations[1] <= kReach;
  }

  Mode follow(ValueId value) const { return is_in_lanes(value) ? Mode::kLanes : Mode::kPlain; }

  // Whether `shape` broadcasts to the map `out` (N, C, H, W) as a number for each channel: (N, C, 1, 1) or
  // (1, C, 1, 1), exactly that for a value; a constant may have fewer axes, or one number for all channels.
  static bool is_by_channel(const Shape& given, const Shape& out, bool value) {
    if (value) return given == Shape{out[0], out[1], 1, 1} || given == Shape{1, out[1], 1, 1};
    Shape full(4 - std::min<std::size_t>(4, given.size()), 1);
    full.insert(full.end(), given.begin(), given.end());
    return full.size() == 4 && full[0] == 1 && full[2] == 1 && full[3] == 1;
  }

  bool has_empty(const Operation& o) const {
    const auto empty = [&](ValueId value) { return count(shape(value)) == 0; };
    return empty(o.output) || std::any_of(o.inputs.begin(), o.inputs.end(), empty);
  }
};

}  // namespace

std::vector<Mode> choose_modes(const Graph& graph, const std::vector<ValueType>& types, bool force_plain) {
  std::vector<Mode> modes(graph.operations.size(), Mode::kPlain);
  if (force_plain) return modes;
  Chooser chooser{graph, types, std::vector<bool>(types.size())};
  for (std::size_t i = 0; i < modes.size(); ++i) {
    const Operation& operation = graph.operations[i];
    if (chooser.has_empty(operation)) continue;
    modes[i] =
        std::visit([&](const auto& attributes) { return chooser.of(operation, attributes); }, operation.attributes);
    chooser.in_lanes[static_cast<std::size_t>(operation.output)] = gives_lanes(operation, modes[i]);
  }
  return modes;
}

std::vector<LaneInput> lane_inputs(const Operation& operation, Mode mode, const std::vector<ValueType>& types) {
  if (mode != Mode::kLanes && mode != Mode::kAffine) return {};
  if (mode == Mode::kAffine) {
    const auto shape = [&](ValueId value) { return types[static_cast<std::size_t>(value)].shape; };
    return {{shape(operation.inputs[0]) == shape(operation.output) ? std::size_t{0} : std::size_t{1}, 1, 1}};
  }
  std::vector<LaneInput> inputs;
  for (std::size_t i = 0; i < operation.inputs.size(); ++i) inputs.push_back({i, 1, 1});
  const Window* window = nullptr;
  if (const auto* conv = std::get_if<ConvAttributes>(&operation.attributes)) window = &conv->window;
  if (const auto* pool = std::get_if<PoolAttributes>(&operation.attributes)) window = &pool->window;
  if (window != nullptr) inputs[0] = {0, window->strides[0], window->strides[1]};
  return inputs;
}

ConvShape conv_shape(const Window& window, int groups, std::int64_t kernel_h, std::int64_t kernel_w) noexcept {
  ConvShape shape;
  shape.groups = groups;
  shape.kernel_h = static_cast<int>(kernel_h);
  shape.kernel_w = static_cast<int>(kernel_w);
  shape.stride_h = window.strides[0];
  shape.stride_w = window.strides[1];
  shape.pad_top = window.pads[0];
  shape.pad_left = window.pads[1];
  shape.dilation_h = window.dilations[0];
  shape.dilation_w = window.dilations[1];
  return shape;
}

}  // namespace featherweight
