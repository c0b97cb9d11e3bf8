#include "base/thread_pool.h"

#include <atomic>
#include <chrono>
#include <ctime>
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

// Many more threads than processors: the caller waits for parts that others claimed, never for others to come.
void more_threads_than_processors() {
  ThreadPool pool(64);
  for (int round = 0; round < 50; ++round) {
    std::vector<int> done(64);
    pool.run(64, [&](int index) { ++done[static_cast<std::size_t>(index)]; });
    CHECK(done == std::vector<int>(64, 1));
  }
}

// Pools of several threads of the program, at the same time.
void pools_side_by_side() {
  std::vector<std::thread> users;
  std::atomic<int> parts{0};
  for (int user = 0; user < 3; ++user)
    users.emplace_back([&] {
      ThreadPool pool(3);
      for (int round = 0; round < 300; ++round) pool.run(5, [&](int) { ++parts; });
    });
  for (std::thread& user : users) user.join();
  CHECK(parts == 3 * 300 * 5);
}

// Milliseconds of processors that this process has used.
double used() { return 1e3 * static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

void idle_threads_cost_nothing() {
  ThreadPool pool(4);
  pool.run(4, [](int) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // they go to sleep
  const double before = used();
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  CHECK(used() - before < 20.0);
}

}  // namespace

int main() {
  every_index_is_done_once();
  sleepers_wake();
  pools_come_and_go();
  more_threads_than_processors();
  pools_side_by_side();
  idle_threads_cost_nothing();
  return featherweight::test::finish();
}
