#include "base/thread_pool.h"

#include <chrono>
#include <thread>
#include <vector>

#include "check.h"

using featherweight::ThreadPool;

namespace {

void every_index_is_done_once() {
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    CHECK(pool.threads() == threads);
    for (int count : {0, 1, 2, 3, 7, 64}) {
      std::vector<int> done(static_cast<std::size_t>(count));
      for (int round = 0; round < 200; ++round)
        pool.run(count, [&](int index) { ++done[static_cast<std::size_t>(index)]; });
      for (const int times : done) CHECK(times == 200);
    }
  }
}

// Threads that went to sleep in between are woken.
void sleepers_wake() {
  ThreadPool pool(3);
  for (int round = 0; round < 20; ++round) {
    std::vector<int> done(3);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    pool.run(3, [&](int index) { ++done[static_cast<std::size_t>(index)]; });
    CHECK(done == std::vector<int>({1, 1, 1}));
  }
}

void pools_come_and_go() {
  for (int round = 0; round < 100; ++round) {
    ThreadPool pool(4);
    int first = 0;
    if (round % 2 == 0)
      pool.run(4, [&](int index) {
        if (index == 0) ++first;
      });
    CHECK(first == (round % 2 == 0 ? 1 : 0));
  }
}

}  // namespace

int main() {
  every_index_is_done_once();
  sleepers_wake();
  pools_come_and_go();
  return featherweight::test::finish();
}
