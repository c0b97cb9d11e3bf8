// What the tests of kernels share: random shapes, maps, and every instruction set in turn.
#pragma once

#include <algorithm>
#include <random>
#include <vector>

#include "base/aligned.h"
#include "kernels/table.h"
#include "tests/check.h"

namespace featherweight::test {

using Random = std::mt19937;
using Floats = AlignedVector<float>;

inline int between(Random& random, int low, int high) {
  return std::uniform_int_distribution<int>(low, high)(random);
}

inline Floats random_floats(Random& random, std::size_t size) {
  std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
  Floats floats(size);
  for (float& x : floats) x = uniform(random);
  return floats;
}

template <class Test>
void for_each_isa(Test test) {
  for (Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512, Isa::kNeon})
    if (const Kernels* kernels = kernels_of(isa)) {
      const int before = failures;
      test(*kernels);
      if (failures != before) std::fprintf(stderr, "(those were of %s)\n", kernels->name);
    }
}

// Runs all parts, the last one first: their order must not matter.
template <class Op>
void run(void (*kernel)(const Op&, Part) noexcept, const Op& op, int parts = 1) {
  for (int i = parts; i-- > 0;) kernel(op, {i, parts});
}

// One of the ways to write `lanes` as grid_n * grid_h * grid_w, all being powers of two.
inline void random_grid(Random& random, int lanes, LaneShape* shape) {
  shape->lanes = lanes;
  shape->grid_n = shape->grid_h = shape->grid_w = 1;
  for (int left = lanes; left > 1; left /= 2) {
    int* const sizes[] = {&shape->grid_n, &shape->grid_h, &shape->grid_w};
    *sizes[between(random, 0, 2)] *= 2;
  }
}

inline int tile_for(int size, int grid) { return (size + grid - 1) / grid; }

inline std::size_t size_of(const LaneShape& shape) { return static_cast<std::size_t>(shape.size()); }

}  // namespace featherweight::test
