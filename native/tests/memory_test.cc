#include "plan/memory.h"

#include <algorithm>
#include <random>

#include "check.h"

using featherweight::Lifetime;
using featherweight::MemoryPlan;
using featherweight::plan_memory;

namespace {

bool lives_overlap(const Lifetime& a, const Lifetime& b) { return a.first <= b.last && b.first <= a.last; }

void check_plan(const std::vector<Lifetime>& buffers) {
  const MemoryPlan plan = plan_memory(buffers);
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    CHECK(plan.offsets[i] % 64 == 0 && plan.offsets[i] >= 0);
    CHECK(plan.offsets[i] + buffers[i].bytes <= plan.bytes);
    for (std::size_t j = 0; j < i; ++j)
      if (lives_overlap(buffers[i], buffers[j]))
        CHECK(plan.offsets[i] + buffers[i].bytes <= plan.offsets[j] ||
              plan.offsets[j] + buffers[j].bytes <= plan.offsets[i]);
  }
}

void what_lives_together_does_not_overlap() {
  std::mt19937 random(1);
  for (int round = 0; round < 300; ++round) {
    std::vector<Lifetime> buffers(random() % 40);
    for (Lifetime& buffer : buffers) {
      buffer.bytes = random() % 2000;
      buffer.first = static_cast<int>(random() % 30);
      buffer.last = buffer.first + static_cast<int>(random() % 6);
    }
    check_plan(buffers);
  }
}

// A chain needs room for the largest pair of neighbours, and no more.
void memory_is_used_again() {
  std::vector<Lifetime> chain;
  for (int i = 0; i < 20; ++i) chain.push_back({6400, i, i + 1});
  CHECK(plan_memory(chain).bytes == 2 * 6400);
  CHECK(plan_memory({}).bytes == 0);
}

}  // namespace

int main() {
  what_lives_together_does_not_overlap();
  memory_is_used_again();
  return featherweight::test::finish();
}
