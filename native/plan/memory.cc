#include "plan/memory.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "base/aligned.h"

namespace featherweight {
namespace {

constexpr std::int64_t kLine = kCacheLine;

std::int64_t whole_lines(std::int64_t bytes) noexcept { return (bytes + kLine - 1) / kLine * kLine; }

struct Placed {
  std::int64_t begin, end;
  int first, last;
};

// Of the gaps between those that live at the same time the smallest that is large enough, or the end.
std::int64_t tightest_gap(const std::vector<Placed>& by_begin, const Lifetime& buffer) noexcept {
  std::int64_t at = 0, best = -1, best_size = INT64_MAX;
  for (const Placed& other : by_begin) {
    if (other.last < buffer.first || other.first > buffer.last) continue;
    const std::int64_t gap = other.begin - at;
    if (gap >= buffer.bytes && gap < best_size) {
      best = at;
      best_size = gap;
    }
    at = std::max(at, other.end);
  }
  return best >= 0 ? best : at;
}

}  // namespace

MemoryPlan plan_memory(const std::vector<Lifetime>& buffers) {
  std::vector<std::size_t> order(buffers.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return buffers[a].bytes > buffers[b].bytes; });
  MemoryPlan plan;
  plan.offsets.resize(buffers.size());
  std::vector<Placed> by_begin;
  for (const std::size_t index : order) {
    const Lifetime& buffer = buffers[index];
    const std::int64_t begin = tightest_gap(by_begin, buffer);
    const Placed placed{begin, begin + whole_lines(buffer.bytes), buffer.first, buffer.last};
    const auto after = std::upper_bound(by_begin.begin(), by_begin.end(), placed,
                                        [](const Placed& a, const Placed& b) { return a.begin < b.begin; });
    by_begin.insert(after, placed);
    plan.offsets[index] = begin;
    plan.bytes = std::max(plan.bytes, placed.end);
  }
  return plan;
}

}  // namespace featherweight
