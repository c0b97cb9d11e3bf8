#include "base/thread_pool.h"

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

namespace featherweight {
namespace {

// About 50 microseconds of spinning, then some yields, then sleep: an operation on one thread in between does not
// send the others to sleep, and a session that is not used costs nothing.
constexpr int kSpins = 1000;
constexpr int kYields = 20;

void relax() noexcept {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Whether `done()` came true while spinning.
template <class Done>
bool spin(Done done) noexcept {
  for (int i = 0; i < kSpins; ++i) {
    if (done()) return true;
    relax();
  }
  for (int i = 0; i < kYields; ++i) {
    if (done()) return true;
    std::this_thread::yield();
  }
  return false;
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  workers_.reserve(static_cast<std::size_t>(threads > 1 ? threads - 1 : 0));
  try {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
  } catch (...) {
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() noexcept {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    ++generation_;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
}

void ThreadPool::start(Task task) noexcept {
  if (workers_.empty() || task.count <= 1) {
    for (int i = 0; i < task.count; ++i) task.call(task.context, i);
    return;
  }
  task_ = task;
  pending_.store(static_cast<int>(workers_.size()), std::memory_order_relaxed);
  ++generation_;  // sequentially consistent, as sleepers_: one of the two sides sees the other
  if (sleepers_ != 0) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
    }  // whoever counted itself is waiting by now
    wake_.notify_all();
  }
  do_share(0);
  const auto done = [this] { return pending_.load(std::memory_order_acquire) == 0; };
  while (!spin(done)) std::this_thread::yield();
}

void ThreadPool::do_share(int worker) noexcept {
  for (int i = worker; i < task_.count; i += threads()) task_.call(task_.context, i);
}

void ThreadPool::work(int worker) noexcept {
  unsigned seen = 0;
  while (true) {
    seen = wait_for_task(seen);
    if (stopping_) return;
    do_share(worker);
    pending_.fetch_sub(1, std::memory_order_release);
  }
}

unsigned ThreadPool::wait_for_task(unsigned seen) noexcept {
  const auto changed = [&] { return generation_.load(std::memory_order_acquire) != seen; };
  if (!spin(changed)) {
    std::unique_lock<std::mutex> lock(mutex_);
    ++sleepers_;
    wake_.wait(lock, [&] { return generation_.load() != seen; });
    --sleepers_;
  }
  return generation_.load(std::memory_order_acquire);
}

}  // namespace featherweight
