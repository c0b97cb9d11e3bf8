// Along an axis, with reach = dilation (kernel - 1) + 1:
//
//   conv, pool:      out = (in + pads - reach) / stride + 1, rounded down; pools with `ceil`: up, less a window
//   that
//                    begins beyond the picture and its first padding
//   conv_transpose:  out = (in - 1) stride - pads + reach + output_pad
#include "plan/shapes.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace featherweight {
namespace {

// What a shape function sees of its operation.
struct Call {
  const Graph& graph;
  const Operation& operation;
  std::vector<const Shape*> in;  // without constants

  const Shape& x() const { return *in[0]; }
  const Shape& weight() const { return constant(operation.weight); }
  const Shape& constant(ConstantId id) const { return graph.constants[static_cast<std::size_t>(id)].shape; }

  Status refuse(const std::string& expected) const {
    std::string got;
    for (const Shape* shape : in) got += (got.empty() ? "" : ", ") + text_of(*shape);
    if (operation.weight != kNone) got += "; constant " + text_of(weight());
    if (operation.bias != kNone) got += "; constant " + text_of(constant(operation.bias));
    return {Code::kShape, operation.title() + ": expected " + expected + ", got " + got};
  }
  bool is_vector(ConstantId id, std::int64_t size) const { return id == kNone || constant(id) == Shape{size}; }
};

std::int64_t reach(const Window& window, std::size_t axis, std::int64_t kernel) noexcept {
  return window.dilations[axis] * (kernel - 1) + 1;
}

// Sizes are below 2^31 and attributes below 2^20, so nothing here overflows.
std::int64_t windows(const Window& window, std::size_t axis, std::int64_t size, std::int64_t kernel,
                     bool ceil) noexcept {
  const std::int64_t begin = window.pads[axis], stride = window.strides[axis];
  const std::int64_t room = size + begin + window.pads[axis + 2] - reach(window, axis, kernel);
  if (room < 0 || size == 0 || size + begin + window.pads[axis + 2] > kMaxSize) return 0;
  const std::int64_t count = (room + (ceil ? stride - 1 : 0)) / stride + 1;
  return ceil && (count - 1) * stride >= size + begin ? count - 1 : count;
}

Result<Shape> with_residual(const Call& call, Shape out) {
  if (call.in.size() == 2 && *call.in[1] != out)
    return call.refuse("a residual of the output's shape " + text_of(out));
  return out;
}

Result<Shape> shape_of(const Call& call, const ConvAttributes& a) {
  const Shape& x = call.x();
  const Shape& weight = call.weight();
  if (x.size() != 4 || weight.size() != 4 || weight[2] < 1 || weight[3] < 1 || x[1] != weight[1] * a.groups ||
      weight[0] % a.groups != 0 || !call.is_vector(call.operation.bias, weight[0]))
    return call.refuse("(N, C, H, W), a weight (M, C / " + std::to_string(a.groups) +
                       ", height, width) and a bias (M)");
  Shape out{x[0], weight[0], windows(a.window, 0, x[2], weight[2], false),
            windows(a.window, 1, x[3], weight[3], false)};
  if (out[2] < 1 || out[3] < 1) return call.refuse("a picture that the kernel fits into, padding included");
  return with_residual(call, std::move(out));
}

Result<Shape> shape_of(const Call& call, const ConvTransposeAttributes& a) {
  const Shape& x = call.x();
  const Shape& weight = call.weight();
  const bool fits = x.size() == 4 && weight.size() == 4 && weight[2] >= 1 && weight[3] >= 1 && x[1] == weight[0] &&
                    x[1] % a.groups == 0;
  if (!fits || !call.is_vector(call.operation.bias, weight[1] * a.groups))
    return call.refuse("(N, C, H, W), a weight (C, M / " + std::to_string(a.groups) +
                       ", height, width) and a bias (M)");
  Shape out{x[0], weight[1] * a.groups};
  for (std::size_t axis = 0; axis < 2; ++axis) {
    const std::int64_t stretched = (x[2 + axis] - 1) * a.window.strides[axis];
    out.push_back(stretched - a.window.pads[axis] - a.window.pads[axis + 2] +
                  reach(a.window, axis, weight[2 + axis]) + a.output_pads[axis]);
    if (x[2 + axis] < 1 || out[2 + axis] < 1)
      return call.refuse("a picture that something is left of without the padding");
  }
  return out;
}

Result<Shape> shape_of(const Call& call, const LinearAttributes&) {
  Shape out = call.x();
  const Shape& weight = call.weight();
  if (out.empty() || weight.size() != 2 || out.back() != weight[1] ||
      !call.is_vector(call.operation.bias, weight[0]))
    return call.refuse("(..., K), a weight (M, K) and a bias (M)");
  out.back() = weight[0];
  return with_residual(call, std::move(out));
}

// The shape that two broadcast to; null where they do not.
std::optional<Shape> broadcast(const Shape& a, const Shape& b) {
  Shape out(std::max(a.size(), b.size()));
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::int64_t left = i < a.size() ? a[a.size() - 1 - i] : 1;
    const std::int64_t right = i < b.size() ? b[b.size() - 1 - i] : 1;
    if (left != right && left != 1 && right != 1) return std::nullopt;
    out[out.size() - 1 - i] = left == 1 ? right : left;
  }
  return out;
}

Result<Shape> shape_of(const Call& call, const MatMulAttributes&) {
  const Shape& a = *call.in[0];
  const Shape& b = *call.in[1];
  const std::string expected = "(..., M, K) and (..., K, N) as numpy's matmul";
  if (a.empty() || b.empty() || a.back() != b[b.size() < 2 ? 0 : b.size() - 2]) return call.refuse(expected);
  const auto batch = broadcast(Shape(a.begin(), a.end() - std::min<std::ptrdiff_t>(2, std::ptrdiff_t(a.size()))),
                               Shape(b.begin(), b.end() - std::min<std::ptrdiff_t>(2, std::ptrdiff_t(b.size()))));
  if (!batch) return call.refuse(expected);
  Shape out = *batch;
  if (a.size() >= 2) out.push_back(a[a.size() - 2]);
  if (b.size() >= 2) out.push_back(b.back());
  return out;
}

Result<Shape> shape_of(const Call& call, const PoolAttributes& a) {
  const Shape& x = call.x();
  if (x.size() != 4) return call.refuse("(N, C, H, W)");
  Shape out{x[0], x[1]};
  for (std::size_t axis = 0; axis < 2; ++axis) {
    const int kernel = a.window.kernel[axis];
    for (const std::size_t end : {axis, axis + 2})
      if (a.window.pads[end] >= kernel && a.window.pads[end] > 0)
        return call.refuse("padding smaller than the window");
    out.push_back(windows(a.window, axis, x[2 + axis], kernel, a.ceil));
    if (out.back() < 1) return call.refuse("a picture that the window fits into, padding included");
  }
  return out;
}

Result<Shape> shape_of(const Call& call, const GlobalPoolAttributes&) {
  const Shape& x = call.x();
  if (x.size() != 4 || x[2] < 1 || x[3] < 1) return call.refuse("(N, C, H, W) with pixels");
  return Shape{x[0], x[1], 1, 1};
}

Result<Shape> shape_of(const Call& call, const UnaryAttributes&) { return call.x(); }

Result<Shape> shape_of(const Call& call, const BinaryAttributes&) {
  const Shape& b = call.in.size() == 2 ? *call.in[1] : call.weight();
  auto out = broadcast(call.x(), b);
  if (!out) return call.refuse("two shapes that broadcast");
  return *std::move(out);
}

Result<Shape> shape_of(const Call& call, const AffineAttributes&) {
  const Shape& x = call.x();
  if (x.size() < 2 || !call.is_vector(call.operation.weight, x[1]) || !call.is_vector(call.operation.bias, x[1]))
    return call.refuse("(N, C, ...), a scale (C) and a shift (C)");
  return x;
}

// Null where there is none.
std::optional<std::size_t> axis_of(std::int64_t axis, const Shape& shape) noexcept {
  if (axis < 0 || axis >= static_cast<std::int64_t>(shape.size())) return std::nullopt;
  return static_cast<std::size_t>(axis);
}

Result<Shape> shape_of(const Call& call, const ConcatAttributes& a) {
  Shape out = call.x();
  const auto axis = axis_of(a.axis, out);
  if (!axis) return call.refuse("an axis " + std::to_string(a.axis));
  for (std::size_t i = 1; i < call.in.size(); ++i) {
    Shape other = *call.in[i];
    if (other.size() != out.size()) return call.refuse("inputs of as many axes");
    out[*axis] += other[*axis];
    other[*axis] = out[*axis];
    if (other != out) return call.refuse("sizes that agree but along axis " + std::to_string(a.axis));
  }
  return out;
}

Result<Shape> shape_of(const Call& call, const SliceAttributes& a) {
  Shape out = call.x();
  std::uint32_t seen = 0;
  for (std::size_t i = 0; i < a.axes.size(); ++i) {
    const auto axis = axis_of(a.axes[i], out);
    if (!axis || ((seen >> *axis) & 1u) != 0) return call.refuse("axes of its own, each once");
    seen |= 1u << *axis;
    out[*axis] = plain::slice_axis(out[*axis], a.starts[i], a.ends[i], a.steps[i]).count;
  }
  return out;
}

Result<Shape> shape_of(const Call& call, const PadAttributes& a) {
  Shape out = call.x();
  if (a.pads.size() != 2 * out.size()) return call.refuse("two pads for each axis");
  for (std::size_t axis = 0; axis < out.size(); ++axis) {
    const std::int64_t begin = a.pads[axis], end = a.pads[axis + out.size()];
    if (a.mode == plain::PadMode::kReflect && std::max(begin, end) >= std::max<std::int64_t>(out[axis], 1) &&
        std::max(begin, end) > 0)
      return call.refuse("reflected pads smaller than what is reflected");
    if (a.mode == plain::PadMode::kEdge && out[axis] == 0) return call.refuse("edges to repeat");
    if (begin < -out[axis] || end < -out[axis] || out[axis] + begin + end < 0)
      return call.refuse("pads that leave something");
    out[axis] += begin + end;
  }
  return out;
}

Result<Shape> shape_of(const Call& call, const ResizeAttributes& a) {
  Shape out = call.x();
  if (out.size() != 4 || out[2] < 1 || out[3] < 1) return call.refuse("(N, C, H, W) with pixels");
  for (std::size_t axis = 0; axis < 2; ++axis) {
    std::int64_t& size = out[2 + axis];
    size = a.sizes.empty() ? static_cast<std::int64_t>(std::floor(static_cast<double>(size) * a.scales[axis]))
                           : a.sizes[axis];
    if (size < 1) return call.refuse("a picture that something is left of");
  }
  return out;
}

Result<Shape> shape_of(const Call& call, const ReshapeAttributes& a) {
  const Shape& x = call.x();
  Shape out = a.shape;
  std::optional<std::size_t> inferred;
  std::int64_t rest = 1;
  for (std::size_t axis = 0; axis < out.size(); ++axis) {
    if (out[axis] == 0 && axis >= x.size()) return call.refuse("an axis to copy for each 0 of " + text_of(a.shape));
    if (out[axis] == 0) out[axis] = x[axis];
    if (out[axis] == -1) inferred = axis;
    const auto next = multiply(rest, out[axis] == -1 ? 1 : out[axis]);
    if (!next) return call.refuse("as many elements as " + text_of(a.shape));
    rest = *next;
  }
  if (inferred) out[*inferred] = rest != 0 ? count(x) / rest : 0;
  if (rest * (inferred ? out[*inferred] : 1) != count(x))
    return call.refuse("as many elements as " + text_of(a.shape));
  return out;
}

Result<Shape> shape_of(const Call& call, const TransposeAttributes& a) {
  const Shape& x = call.x();
  if (x.size() != a.permutation.size())
    return call.refuse("as many axes as the permutation, " + std::to_string(a.permutation.size()));
  Shape out;
  for (const std::int64_t axis : a.permutation) out.push_back(x[static_cast<std::size_t>(axis)]);
  return out;
}

Result<Shape> reduced(const Call& call, const std::vector<std::int64_t>& axes, bool keep) {
  const Shape& x = call.x();
  Shape out = x;
  for (const std::int64_t given : axes) {
    const auto axis = axis_of(given, x);
    if (!axis || out[*axis] == kUnknown) return call.refuse("axes of its own, each once");
    out[*axis] = kUnknown;  // a mark
  }
  if (keep)
    std::replace(out.begin(), out.end(), kUnknown, std::int64_t{1});
  else
    out.erase(std::remove(out.begin(), out.end(), kUnknown), out.end());
  return out;
}

Result<Shape> shape_of(const Call& call, const ReduceMeanAttributes& a) { return reduced(call, a.axes, a.keep); }

Result<Shape> shape_of(const Call& call, const ArgMaxAttributes& a) {
  const auto axis = axis_of(a.axis, call.x());
  if (!axis || call.x()[*axis] == 0) return call.refuse("something along axis " + std::to_string(a.axis));
  return reduced(call, {a.axis}, a.keep);
}

Result<Shape> shape_of(const Call& call, const SoftmaxAttributes& a) {
  if (!axis_of(a.axis, call.x())) return call.refuse("an axis " + std::to_string(a.axis));
  return call.x();
}

Result<Shape> shape_of(const Call& call, const NormalizeAttributes& a) {
  if (!axis_of(a.axis, call.x())) return call.refuse("an axis " + std::to_string(a.axis));
  return call.x();
}

Result<Shape> shape_of(const Call& call, const DepthToSpaceAttributes& a) {
  const Shape& x = call.x();
  if (x.size() != 4 || x[1] % (a.block * a.block) != 0)
    return call.refuse("(N, C, H, W) with channels a multiple of " + std::to_string(a.block * a.block));
  return Shape{x[0], x[1] / (a.block * a.block), x[2] * a.block, x[3] * a.block};
}

Result<Shape> shape_of(const Call& call, const ChannelShuffleAttributes& a) {
  const Shape& x = call.x();
  if (x.size() < 2 || x[1] % a.groups != 0)
    return call.refuse("(N, C, ...) with channels a multiple of " + std::to_string(a.groups));
  return x;
}

Result<Shape> shape_of(const Call& call, const CastAttributes&) { return call.x(); }

Status check_inputs(const Graph& graph, const std::vector<Shape>& inputs) {
  if (inputs.size() != graph.inputs.size())
    return {Code::kArgument,
            "expected " + std::to_string(graph.inputs.size()) + " inputs, got " + std::to_string(inputs.size())};
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const Shape& expected = graph.inputs[i].shape;
    bool fits = expected.size() == inputs[i].size() && elements_of(inputs[i]).has_value();
    for (std::size_t axis = 0; fits && axis < expected.size(); ++axis)
      fits = expected[axis] == kUnknown || expected[axis] == inputs[i][axis];
    if (!fits)
      return {Code::kShape, "input " + quoted(graph.inputs[i].name) + ": expected shape " + text_of(expected) +
                                ", got " + text_of(inputs[i])};
  }
  return {};
}

bool is_output(const Graph& graph, ValueId value) {
  return std::find(graph.outputs.begin(), graph.outputs.end(), value) != graph.outputs.end();
}

// Only `cast` takes what is not float32, and only at the edges of the graph.
Result<Dtype> dtype_of(const Graph& graph, const Operation& operation, const std::vector<ValueType>& types) {
  const auto* cast = std::get_if<CastAttributes>(&operation.attributes);
  for (const ValueId input : operation.inputs)
    if (cast == nullptr && types[static_cast<std::size_t>(input)].dtype != Dtype::kFloat32)
      return Status(Code::kGraph, operation.title() + ": expected float32, got " +
                                      info_of(types[static_cast<std::size_t>(input)].dtype).name);
  const Dtype dtype = cast != nullptr                                                  ? cast->dtype
                      : std::holds_alternative<ArgMaxAttributes>(operation.attributes) ? Dtype::kInt64
                                                                                       : Dtype::kFloat32;
  if (dtype != Dtype::kFloat32 && !is_output(graph, operation.output))
    return Status(Code::kGraph,
                  operation.title() + ": its output is " + info_of(dtype).name + " and must be one of the graph's");
  return dtype;
}

// The types of values where each unknown size is `trial`.
std::optional<std::vector<ValueType>> types_for(const Graph& graph, std::int64_t trial) {
  std::vector<Shape> shapes;
  for (const GraphInput& input : graph.inputs) {
    shapes.push_back(input.shape);
    std::replace(shapes.back().begin(), shapes.back().end(), kUnknown, trial);
  }
  auto types = infer_types(graph, shapes);
  return types.ok() ? std::optional(std::move(types).value()) : std::nullopt;
}

bool graph_is_open(const Graph& graph) {
  for (const GraphInput& input : graph.inputs)
    if (std::find(input.shape.begin(), input.shape.end(), kUnknown) != input.shape.end()) return true;
  return false;
}

Dtype output_dtype(const Graph& graph, ValueId value) {
  if (static_cast<std::size_t>(value) < graph.inputs.size())
    return graph.inputs[static_cast<std::size_t>(value)].dtype;
  for (const Operation& operation : graph.operations) {
    if (operation.output != value) continue;
    if (const auto* cast = std::get_if<CastAttributes>(&operation.attributes)) return cast->dtype;
    if (std::holds_alternative<ArgMaxAttributes>(operation.attributes)) return Dtype::kInt64;
  }
  return Dtype::kFloat32;
}

}  // namespace

std::vector<OutputType> partial_output_types(const Graph& graph) {
  std::vector<std::vector<ValueType>> trials;
  for (const std::int64_t trial : {1, 2, 64, 96, 224, 256, 288})
    if (auto types = types_for(graph, trial); types && trials.size() < 3) trials.push_back(*std::move(types));
  std::vector<OutputType> outputs;
  for (const ValueId value : graph.outputs) {
    OutputType type{output_dtype(graph, value), std::nullopt};
    for (const auto& trial : trials) {
      const Shape& shape = trial[static_cast<std::size_t>(value)].shape;
      if (!type.shape) type.shape = shape;
      if (type.shape->size() != shape.size()) continue;
      for (std::size_t axis = 0; axis < shape.size(); ++axis)
        if ((*type.shape)[axis] != shape[axis]) (*type.shape)[axis] = kUnknown;
    }
    if (trials.size() < 2 && type.shape && graph_is_open(graph)) type.shape.reset();
    outputs.push_back(std::move(type));
  }
  return outputs;
}

Result<std::vector<ValueType>> infer_types(const Graph& graph, const std::vector<Shape>& inputs) {
  FW_TRY(check_inputs(graph, inputs));
  std::vector<ValueType> types(graph.values.size());
  for (std::size_t i = 0; i < inputs.size(); ++i) types[i] = {graph.inputs[i].dtype, inputs[i]};
  for (const Operation& operation : graph.operations) {
    Call call{graph, operation, {}};
    for (const ValueId input : operation.inputs) call.in.push_back(&types[static_cast<std::size_t>(input)].shape);
    FW_ASSIGN(dtype, dtype_of(graph, operation, types));
    FW_ASSIGN(shape,
              std::visit([&](const auto& attributes) { return shape_of(call, attributes); }, operation.attributes));
    if (!elements_of(shape)) return call.refuse("an output within limits, not " + text_of(shape));
    types[static_cast<std::size_t>(operation.output)] = {dtype, std::move(shape)};
  }
  return types;
}

}  // namespace featherweight
