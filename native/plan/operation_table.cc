#include "plan/operation_table.h"

#include <limits>

namespace featherweight {
namespace {

using Limits = AttributeReader::Limits;

// Small enough that sizes computed from a few of them stay within 64 bits.
constexpr Limits kPositive{1, 1 << 20}, kPadding{0, 1 << 20}, kAxis{0, 7}, kAny{};
constexpr Limits kSize{-kMaxSize, kMaxSize};
constexpr int kMany = std::numeric_limits<int>::max();

constexpr Choice<KernelChoice> kKernels[] = {{"sparse", KernelChoice::kSparse}, {"dense", KernelChoice::kDense}};
constexpr Choice<plain::PadMode> kPadModes[] = {{"constant", plain::PadMode::kConstant},
                                                {"reflect", plain::PadMode::kReflect},
                                                {"edge", plain::PadMode::kEdge}};
constexpr Choice<plain::ResizeMode> kResizeModes[] = {{"nearest", plain::ResizeMode::kNearest},
                                                      {"linear", plain::ResizeMode::kLinear}};
constexpr Choice<plain::Coordinates> kCoordinates[] = {
    {"asymmetric", plain::Coordinates::kAsymmetric},
    {"half_pixel", plain::Coordinates::kHalfPixel},
    {"align_corners", plain::Coordinates::kAlignCorners},
    {"pytorch_half_pixel", plain::Coordinates::kPytorchHalfPixel}};
constexpr Choice<plain::Rounding> kRoundings[] = {{"floor", plain::Rounding::kFloor},
                                                  {"ceil", plain::Rounding::kCeil},
                                                  {"round_prefer_floor", plain::Rounding::kRoundPreferFloor},
                                                  {"round_prefer_ceil", plain::Rounding::kRoundPreferCeil}};
constexpr Choice<plain::DepthToSpaceMode> kDepthModes[] = {{"DCR", plain::DepthToSpaceMode::kDcr},
                                                           {"CRD", plain::DepthToSpaceMode::kCrd}};
constexpr Choice<Dtype> kCasts[] = {{"float32", Dtype::kFloat32},
                                    {"int64", Dtype::kInt64},
                                    {"int32", Dtype::kInt32},
                                    {"uint8", Dtype::kUint8},
                                    {"bool", Dtype::kBool}};

Window strides_and_pads(AttributeReader& r) {
  Window window;
  window.strides = r.ints<2>("strides", kPositive, {{1, 1}});
  window.pads = r.ints<4>("pads", kPadding, {{0, 0, 0, 0}});
  window.dilations = r.ints<2>("dilations", kPositive, {{1, 1}});
  return window;
}

KernelChoice kernel_choice(AttributeReader& r) {
  if (!r.has("kernel")) return KernelChoice::kAuto;
  return r.choice("kernel", kKernels);
}

Blocks blocks(AttributeReader& r) {
  const auto got = r.ints<2>("blocks", kPadding, {{0, 0}});
  return {got[0], got[1]};
}

int groups(AttributeReader& r) { return static_cast<int>(r.integer("groups", kPositive, 1)); }

Attributes conv(AttributeReader& r) {
  ConvAttributes a;
  a.window = strides_and_pads(r);
  a.groups = groups(r);
  a.kernel = kernel_choice(r);
  a.blocks = blocks(r);
  return a;
}

Attributes conv_transpose(AttributeReader& r) {
  ConvTransposeAttributes a;
  a.window = strides_and_pads(r);
  a.groups = groups(r);
  a.output_pads = r.ints<2>("output_pads", kPadding, {{0, 0}});
  return a;
}

Attributes linear(AttributeReader& r) {
  const KernelChoice kernel = kernel_choice(r);
  return LinearAttributes{kernel, blocks(r)};
}

Attributes matmul(AttributeReader&) { return MatMulAttributes{}; }

template <PoolKind kKind>
Attributes pool(AttributeReader& r) {
  PoolAttributes a;
  a.kind = kKind;
  a.window.kernel = r.ints<2>("kernel", kPositive);
  a.window.strides = r.ints<2>("strides", kPositive, {{1, 1}});
  a.window.pads = r.ints<4>("pads", kPadding, {{0, 0, 0, 0}});
  a.ceil = r.boolean("ceil", false);
  if (kKind == PoolKind::kMax) a.window.dilations = r.ints<2>("dilations", kPositive, {{1, 1}});
  if (kKind == PoolKind::kAverage) a.count_pads = r.boolean("count_pads", false);
  return a;
}

template <PoolKind kKind>
Attributes global_pool(AttributeReader&) {
  return GlobalPoolAttributes{kKind};
}

Attributes unary(AttributeReader&) { return UnaryAttributes{}; }

template <BinaryKind kKind>
Attributes binary(AttributeReader& r) {
  return BinaryAttributes{kKind, r.boolean("swapped", false)};
}

Attributes affine(AttributeReader&) { return AffineAttributes{}; }
Attributes concat(AttributeReader& r) { return ConcatAttributes{r.integer("axis", kAxis)}; }

Attributes slice(AttributeReader& r) {
  SliceAttributes a;
  a.starts = r.integers("starts", kAny);
  a.ends = r.integers("ends", kAny);
  a.axes = r.integers("axes", kAxis);
  a.steps = r.integers("steps", kAny);
  if (a.ends.size() != a.starts.size()) r.fail("ends", "as many as starts");
  if (a.axes.size() != a.starts.size()) r.fail("axes", "as many as starts");
  if (a.steps.size() != a.starts.size()) r.fail("steps", "as many as starts");
  for (const std::int64_t step : a.steps)
    if (step == 0) r.fail("steps", "not 0");
  return a;
}

Attributes pad(AttributeReader& r) {
  PadAttributes a;
  a.pads = r.integers("pads", kSize);
  a.mode = r.choice("mode", kPadModes, {plain::PadMode::kConstant});
  a.value = static_cast<float>(r.number("value", 0.0));
  if (a.pads.size() % 2 != 0) r.fail("pads", "two for each axis");
  return a;
}

Attributes resize(AttributeReader& r) {
  ResizeAttributes a;
  if (r.has("scales") == r.has("sizes")) r.fail("scales", "given, or sizes, and not both");
  if (r.has("scales")) a.scales = r.numbers("scales");
  if (r.has("sizes")) a.sizes = r.integers("sizes", {1, kMaxSize});
  if (a.scales.size() + a.sizes.size() != 2) r.fail(r.has("scales") ? "scales" : "sizes", "two numbers");
  for (const double scale : a.scales)
    if (!(scale > 0.0 && scale < 65536.0)) r.fail("scales", "above 0 and below 65536");
  a.mode = r.choice("mode", kResizeModes);
  a.coordinates = r.choice("coordinates", kCoordinates, {plain::Coordinates::kHalfPixel});
  a.rounding = r.choice("rounding", kRoundings, {plain::Rounding::kRoundPreferFloor});
  return a;
}

Attributes reshape(AttributeReader& r) {
  ReshapeAttributes a{r.integers("shape", {-1, kMaxSize})};
  int inferred = 0;
  for (const std::int64_t size : a.shape) inferred += size == -1;
  if (inferred > 1) r.fail("shape", "with at most one -1");
  if (a.shape.size() > kMaxRank) r.fail("shape", "of at most 8 axes");
  return a;
}

Attributes transpose(AttributeReader& r) {
  TransposeAttributes a{r.integers("permutation", {0, 7})};
  std::uint32_t seen = 0;
  for (const std::int64_t axis : a.permutation) seen |= 1u << axis;
  if (a.permutation.size() > kMaxRank || seen != (1u << a.permutation.size()) - 1)
    r.fail("permutation", "each of 0 .. rank - 1 once");
  return a;
}

Attributes reduce_mean(AttributeReader& r) {
  std::vector<std::int64_t> axes = r.integers("axes", kAxis);
  return ReduceMeanAttributes{std::move(axes), r.boolean("keep", true)};
}

template <bool kLog>
Attributes softmax(AttributeReader& r) {
  return SoftmaxAttributes{kLog, r.integer("axis", kAxis)};
}

Attributes depth_to_space(AttributeReader& r) {
  const std::int64_t block = r.integer("block", {1, 4096});
  return DepthToSpaceAttributes{block, r.choice("mode", kDepthModes, {plain::DepthToSpaceMode::kDcr})};
}

Attributes channel_shuffle(AttributeReader& r) { return ChannelShuffleAttributes{r.integer("groups", kPositive)}; }

Attributes normalize(AttributeReader& r) {
  const std::int64_t axis = r.integer("axis", kAxis);
  return NormalizeAttributes{axis, static_cast<float>(r.number("epsilon"))};
}

Attributes arg_max(AttributeReader& r) {
  const std::int64_t axis = r.integer("axis", kAxis);
  return ArgMaxAttributes{axis, r.boolean("keep", true)};
}

Attributes cast(AttributeReader& r) { return CastAttributes{r.choice("dtype", kCasts)}; }

constexpr OperationRow kOperations[] = {
    // op, inputs, constants, is the first required, attributes, activation
    {"conv", 1, 2, "weight", "bias", true, conv, true},
    {"conv_transpose", 1, 1, "weight", "bias", true, conv_transpose, true},
    {"linear", 1, 2, "weight", "bias", true, linear, true},
    {"matmul", 2, 2, "", "", false, matmul, false},
    {"max_pool", 1, 1, "", "", false, pool<PoolKind::kMax>, false},
    {"average_pool", 1, 1, "", "", false, pool<PoolKind::kAverage>, false},
    {"global_average_pool", 1, 1, "", "", false, global_pool<PoolKind::kAverage>, false},
    {"global_max_pool", 1, 1, "", "", false, global_pool<PoolKind::kMax>, false},
    {"unary", 1, 1, "", "", false, unary, true},
    {"add", 1, 2, "b", "", false, binary<BinaryKind::kAdd>, true},
    {"sub", 1, 2, "b", "", false, binary<BinaryKind::kSub>, true},
    {"mul", 1, 2, "b", "", false, binary<BinaryKind::kMul>, true},
    {"div", 1, 2, "b", "", false, binary<BinaryKind::kDiv>, true},
    {"affine", 1, 1, "scale", "shift", true, affine, true},
    {"concat", 1, kMany, "", "", false, concat, false},
    {"slice", 1, 1, "", "", false, slice, false},
    {"pad", 1, 1, "", "", false, pad, false},
    {"resize", 1, 1, "", "", false, resize, false},
    {"reshape", 1, 1, "", "", false, reshape, false},
    {"transpose", 1, 1, "", "", false, transpose, false},
    {"reduce_mean", 1, 1, "", "", false, reduce_mean, false},
    {"softmax", 1, 1, "", "", false, softmax<false>, false},
    {"log_softmax", 1, 1, "", "", false, softmax<true>, false},
    {"normalize", 1, 1, "", "", false, normalize, false},
    {"depth_to_space", 1, 1, "", "", false, depth_to_space, false},
    {"channel_shuffle", 1, 1, "", "", false, channel_shuffle, false},
    {"arg_max", 1, 1, "", "", false, arg_max, false},
    {"cast", 1, 1, "", "", false, cast, false},
};

}  // namespace

const OperationRow* operation_row(std::string_view op) noexcept {
  for (const OperationRow& row : kOperations)
    if (row.op == op) return &row;
  return nullptr;
}

std::string operation_names() {
  std::string names;
  for (const OperationRow& row : kOperations) names += (names.empty() ? "" : ", ") + std::string(row.op);
  return names;
}

}  // namespace featherweight
