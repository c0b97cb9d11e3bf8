// From tiles to other tiles, by a table of where each lane of a channel comes from.
//
// Writes whole vectors, one after the other; lanes that overhang the picture get some pixel of it. All channels
// share the table.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/operations.h"

namespace featherweight {

struct Retile {
  ConstLaneView in;
  LaneView out;
  const std::int32_t* from = nullptr;  // retile_table(...)
};

// Whether offsets fit the table.
bool can_retile(const LaneShape& in, const LaneShape& out) noexcept;
// For each image, row, column and lane of the output's tile the offset in the input's first channel. `strides`: the
// output has every so many rows and columns of the input.
struct Strides {
  int rows = 1, columns = 1;
};
std::vector<std::int32_t> retile_table(const LaneShape& in, const LaneShape& out, Strides strides = {});
void retile(const Retile& work, Part part) noexcept;

}  // namespace featherweight
