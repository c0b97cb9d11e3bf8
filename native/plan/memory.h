// Where the values of a plan lie in one arena: those that live at the same time do not overlap.
#pragma once

#include <cstdint>
#include <vector>

namespace featherweight {

// Of a buffer: the first and the last step that touch it, both included.
struct Lifetime {
  std::int64_t bytes = 0;
  int first = 0, last = 0;
};

struct MemoryPlan {
  std::vector<std::int64_t> offsets;  // multiples of the cache line
  std::int64_t bytes = 0;
};

// Greedy: the largest first, each into the tightest gap that is free during its life.
MemoryPlan plan_memory(const std::vector<Lifetime>& buffers);

}  // namespace featherweight
