// How each operation runs: over feature maps in lanes, or over plain arrays.
#pragma once

#include <cstdint>
#include <vector>

#include "plan/graph.h"
#include "plan/shapes.h"

namespace featherweight {

enum class Mode : std::uint8_t {
  kPlain,
  kLinear,  // a convolution whose kernel covers the picture: a product, of plain arrays
  kLanes,
  kAffine,  // `add`, `sub`, `mul` or `div` of a map in lanes and a number for each channel (of each image)
};

// All plain where `force_plain` says so: the reference for tests.
std::vector<Mode> choose_modes(const Graph& graph, const std::vector<ValueType>& types, bool force_plain);

// An input that an operation reads in lanes: its tiles are so many times as large as the output's.
struct LaneInput {
  std::size_t index = 0;
  int stride_h = 1, stride_w = 1;
};
std::vector<LaneInput> lane_inputs(const Operation& operation, Mode mode, const std::vector<ValueType>& types);

// Whether the operation writes a map in lanes.
inline bool gives_lanes(const Operation& operation, Mode mode) noexcept {
  return mode == Mode::kAffine ||
         (mode == Mode::kLanes && !std::holds_alternative<GlobalPoolAttributes>(operation.attributes));
}

// The convolution or pooling as kernels see it.
ConvShape conv_shape(const Window& window, int groups, std::int64_t kernel_h, std::int64_t kernel_w) noexcept;

}  // namespace featherweight
