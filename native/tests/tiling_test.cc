// Which tiles the planner takes: they cover what they should, and fit where a conversion would cost more.
#include "plan/layout.h"

#include "check.h"
#include "fw_file.h"

using namespace featherweight;
using test::FwFile;

namespace {

std::string conv(int stride) {
  const std::string s = std::to_string(stride);
  return "\"strides\": [" + s + ", " + s + R"(], "pads": [1, 1, 1, 1])";
}

// Three convolutions in a row, with this stride in the middle; `work` is each one's.
struct Chosen {
  std::vector<ValueType> types;
  std::vector<Tiling> tilings;
};
Chosen choose(int size, int batch, int stride, double work) {
  FwFile f;
  f.input("x", "[null, 4, null, null]").dense("w", {4, 4, 3, 3}, std::vector<float>(144, 1.0f));
  f.op("conv", "\"x\"", "a", conv(1), R"("weight": "w")")
      .op("conv", "\"a\"", "b", conv(stride), R"("weight": "w")");
  f.op("conv", "\"b\"", "y", conv(1), R"("weight": "w")").output("y");
  const auto graph = parse_graph(f.graph());
  CHECK(graph.ok());
  Chosen chosen;
  chosen.types = infer_types(graph.value(), {{batch, 4, size, size}}).value();
  const auto modes = choose_modes(graph.value(), chosen.types, false);
  for (const Mode mode : modes) CHECK(mode == Mode::kLanes);
  chosen.tilings = choose_tilings(graph.value(), chosen.types, modes, {work, work, work}, 16);
  for (std::size_t i = 0; i < 3; ++i) {
    const Shape& shape = chosen.types[i + 1].shape;
    const Tiling& t = chosen.tilings[i];
    CHECK(t.grid_n * t.grid_h * t.grid_w == 16);
    CHECK(t.covers(static_cast<int>(shape[0]), static_cast<int>(shape[2]), static_cast<int>(shape[3])));
  }
  return chosen;
}

void sizes_that_divide_need_no_conversion() {
  const Chosen c = choose(32, 1, 2, 1e3);
  CHECK(c.tilings[0] == c.tilings[1].times(2, 2) && c.tilings[1] == c.tilings[2]);
  CHECK(std::int64_t{c.tilings[0].tile_h} * c.tilings[0].tile_w * 16 == 32 * 32);
}

// 28x28 is 49 full vectors; as twice the tiles of 14x14 it would be 56 at least.
void much_work_is_worth_a_conversion_and_little_is_not() {
  const Chosen much = choose(28, 1, 2, 1e6);
  CHECK(much.tilings[0].tile_h * much.tilings[0].tile_w == 49);
  CHECK(much.tilings[0] != much.tilings[1].times(2, 2));
  const Chosen little = choose(28, 1, 2, 1.0);
  CHECK(little.tilings[0] == little.tilings[1].times(2, 2));
}

void a_batch_fills_the_lanes() {
  const Chosen c = choose(7, 16, 1, 1e3);
  CHECK(c.tilings[0].tile_n * c.tilings[0].tile_h * c.tilings[0].tile_w == 49);
}

void every_size_is_covered() {
  for (int size = 1; size < 40; ++size)
    for (const int batch : {1, 3, 16})
      for (const int stride : {1, 2, 3}) (void)choose(size, batch, stride, 100.0);
}

}  // namespace

int main() {
  sizes_that_divide_need_no_conversion();
  much_work_is_worth_a_conversion_and_little_is_not();
  a_batch_fills_the_lanes();
  every_size_is_covered();
  return test::finish();
}
