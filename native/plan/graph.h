// The graph of a `.fw` file: operations in order, over values that each are defined once.
//
// docs/design/runtime.md has the table of operations; operation_table.cc is that table in code. A Graph that
// parse_graph gave is well formed: every name is resolved, every attribute is known and within its range. Whether
// shapes fit is for shapes.h, which knows the inputs.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "kernels/operations.h"
#include "kernels/plain/plain.h"
#include "plan/types.h"

namespace featherweight {

using ValueId = int;
using ConstantId = int;
inline constexpr int kNone = -1;
inline constexpr std::size_t kMaxOperations = 20'000;

// By measuring, at compile time; kAuto: sparse where 60% of the weight are zeros.
enum class KernelChoice : std::uint8_t { kAuto, kSparse, kDense };

struct Window {
  std::array<int, 2> kernel{1, 1}, strides{1, 1}, dilations{1, 1};  // rows, columns
  std::array<int, 4> pads{};                                        // top, left, bottom, right
};

struct ConvAttributes {
  Window window;  // its kernel is the weight's, see Operation::weight
  int groups = 1;
  KernelChoice kernel = KernelChoice::kAuto;
  Blocks blocks;
};
struct ConvTransposeAttributes {
  Window window;
  int groups = 1;
  std::array<int, 2> output_pads{};
};
struct LinearAttributes {
  KernelChoice kernel = KernelChoice::kAuto;
  Blocks blocks;
};
struct MatMulAttributes {};
struct PoolAttributes {
  PoolKind kind = PoolKind::kMax;
  Window window;
  bool ceil = false, count_pads = false;
};
struct GlobalPoolAttributes {
  PoolKind kind = PoolKind::kAverage;
};
struct UnaryAttributes {};
struct BinaryAttributes {
  BinaryKind kind = BinaryKind::kAdd;
  bool swapped = false;  // the constant is a
};
struct AffineAttributes {};
// Axes count from the front.
struct ConcatAttributes {
  std::int64_t axis = 0;
};
struct SliceAttributes {
  std::vector<std::int64_t> starts, ends, axes, steps;
};
struct PadAttributes {
  std::vector<std::int64_t> pads;
  plain::PadMode mode = plain::PadMode::kConstant;
  float value = 0.0f;
};
struct ResizeAttributes {
  std::vector<double> scales;       // 2 of them, or none
  std::vector<std::int64_t> sizes;  // 2 of them where there are no scales
  plain::ResizeMode mode = plain::ResizeMode::kNearest;
  plain::Coordinates coordinates = plain::Coordinates::kHalfPixel;
  plain::Rounding rounding = plain::Rounding::kRoundPreferFloor;
};
struct ReshapeAttributes {
  std::vector<std::int64_t> shape;
};
struct TransposeAttributes {
  std::vector<std::int64_t> permutation;
};
struct ReduceMeanAttributes {
  std::vector<std::int64_t> axes;
  bool keep = true;
};
struct SoftmaxAttributes {
  bool log = false;
  std::int64_t axis = 0;
};
struct DepthToSpaceAttributes {
  std::int64_t block = 1;
  plain::DepthToSpaceMode mode = plain::DepthToSpaceMode::kDcr;
};
struct ChannelShuffleAttributes {
  std::int64_t groups = 1;
};
struct NormalizeAttributes {
  std::int64_t axis = 0;
  float epsilon = 0.0f;
};
struct ArgMaxAttributes {
  std::int64_t axis = 0;
  bool keep = true;
};
struct CastAttributes {
  Dtype dtype = Dtype::kFloat32;
};

using Attributes =
    std::variant<ConvAttributes, ConvTransposeAttributes, LinearAttributes, MatMulAttributes, PoolAttributes,
                 GlobalPoolAttributes, UnaryAttributes, BinaryAttributes, AffineAttributes, ConcatAttributes,
                 SliceAttributes, PadAttributes, ResizeAttributes, ReshapeAttributes, TransposeAttributes,
                 ReduceMeanAttributes, SoftmaxAttributes, DepthToSpaceAttributes, ChannelShuffleAttributes,
                 NormalizeAttributes, ArgMaxAttributes, CastAttributes>;

struct Operation {
  std::string op, name;
  std::vector<ValueId> inputs;  // a residual is the last
  ValueId output = kNone;
  // Constants by role: weight (or `b`, or `scale`) and bias (or `shift`).
  ConstantId weight = kNone, bias = kNone;
  Activation activation;  // at the end; for `unary` it is the operation
  Attributes attributes;

  // "conv layer1.0.conv1", for messages: a long name is cut.
  std::string title() const { return op + (name.empty() ? "" : " ") + std::string(beginning_of(name, 200)); }
};

enum class Storage : std::uint8_t { kDense, kSparse };

struct ConstantInfo {
  std::string name;
  Shape shape;
  Storage storage = Storage::kDense;
};

struct GraphInput {
  std::string name;
  Dtype dtype = Dtype::kFloat32;
  Shape shape;  // with kUnknown
};

struct Graph {
  std::vector<GraphInput> inputs;  // values 0, 1, ...
  std::vector<ValueId> outputs;
  std::vector<std::string> values;  // names
  std::vector<Operation> operations;
  std::vector<ConstantInfo> constants;
};

Result<Graph> parse_graph(std::string_view text);

}  // namespace featherweight
