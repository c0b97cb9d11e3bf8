#include "base/thread_pool.h"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif
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

// Which processors threads may run on. Who wakes a thread draws it to its own processor, where it then waits for the
// waker to be done: measured with two threads, small networks ran no faster than with one. So threads that are woken
// are kept off the caller's processor, if there are enough others.
class Processors {
 public:
#if defined(__linux__)
  Processors() noexcept { known_ = sched_getaffinity(0, sizeof allowed_, &allowed_) == 0; }

  void leave_to_caller(std::vector<std::thread>& threads) noexcept {
    const int here = sched_getcpu();
    if (!known_ || here < 0 || here == callers_) return;
    callers_ = here;
    cpu_set_t others = allowed_;
    CPU_CLR(here, &others);
    if (static_cast<std::size_t>(CPU_COUNT(&others)) < threads.size()) return;
    for (std::thread& thread : threads) pthread_setaffinity_np(thread.native_handle(), sizeof others, &others);
  }

 private:
  cpu_set_t allowed_;
  bool known_ = false;
  int callers_ = -1;
#else
  void leave_to_caller(std::vector<std::thread>&) noexcept {}
#endif
};

// The parts of Crew::state_.
std::uint64_t state_of(std::uint32_t number, int count, int part) noexcept {
  return std::uint64_t{number} << 32 | static_cast<std::uint64_t>(count) << 16 | static_cast<std::uint64_t>(part);
}
std::uint32_t number_of(std::uint64_t state) noexcept { return static_cast<std::uint32_t>(state >> 32); }
int count_of(std::uint64_t state) noexcept { return static_cast<int>(state >> 16 & 0xFFFF); }
int part_of(std::uint64_t state) noexcept { return static_cast<int>(state & 0xFFFF); }

}  // namespace

class ThreadPool::Crew {
 public:
  explicit Crew(int workers);
  ~Crew() { stop(); }
  Crew(const Crew&) = delete;
  Crew& operator=(const Crew&) = delete;

  void start(Task task) noexcept;

 private:
  void stop() noexcept;
  void work() noexcept;
  int claim(std::uint32_t task) noexcept;
  std::uint32_t wait_for_task(std::uint32_t seen) noexcept;

  Task task_;  // does not change while a part of it that was claimed is not done
  // The task's number, how many parts it has, and the next part that nobody has claimed: 32, 16 and 16 bits. In one
  // word, so that whoever comes late claims nothing of another task.
  alignas(64) std::atomic<std::uint64_t> state_{0};
  alignas(64) std::atomic<int> done_{0};  // parts
  alignas(64) std::atomic<int> sleepers_{0};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
  Processors processors_;
};

ThreadPool::Crew::Crew(int workers) {
  workers_.reserve(static_cast<std::size_t>(workers));
  try {
    for (int i = 0; i < workers; ++i) workers_.emplace_back([this] { work(); });
  } catch (...) {
    stop();
    throw;
  }
}

void ThreadPool::Crew::stop() noexcept {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    state_ = state_of(number_of(state_) + 1, 0, 0);
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
}

void ThreadPool::Crew::start(Task task) noexcept {
  task_ = task;
  done_.store(0, std::memory_order_relaxed);
  const std::uint32_t number = number_of(state_.load(std::memory_order_relaxed)) + 1;
  state_ = state_of(number, task.count, 1);  // sequentially consistent, as sleepers_: one side sees the other
  if (sleepers_ != 0) {
    processors_.leave_to_caller(workers_);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
    }  // whoever counted itself is waiting by now
    wake_.notify_all();
  }
  int mine = 0;
  for (int part = 0; part >= 0; part = claim(number), ++mine) task.call(task.context, part);
  done_.fetch_add(mine, std::memory_order_relaxed);
  const auto done = [&] { return done_.load(std::memory_order_acquire) == task.count; };
  while (!spin(done)) std::this_thread::yield();
}

// A part of the task of this number; -1 where none is left.
int ThreadPool::Crew::claim(std::uint32_t task) noexcept {
  std::uint64_t state = state_.load(std::memory_order_acquire);
  while (number_of(state) == task && part_of(state) < count_of(state))
    if (state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel, std::memory_order_acquire))
      return part_of(state);
  return -1;
}

void ThreadPool::Crew::work() noexcept {
  std::uint32_t task = 0;
  while (true) {
    task = wait_for_task(task);
    if (stopping_) return;
    for (int part = claim(task); part >= 0; part = claim(task)) {
      task_.call(task_.context, part);
      done_.fetch_add(1, std::memory_order_release);
    }
  }
}

std::uint32_t ThreadPool::Crew::wait_for_task(std::uint32_t seen) noexcept {
  const auto changed = [&] { return number_of(state_.load(std::memory_order_acquire)) != seen; };
  if (!spin(changed)) {
    std::unique_lock<std::mutex> lock(mutex_);
    ++sleepers_;
    wake_.wait(lock, [&] { return number_of(state_.load()) != seen; });
    --sleepers_;
  }
  return number_of(state_.load(std::memory_order_acquire));
}

ThreadPool::ThreadPool(int threads)
    : threads_(threads > 1 ? threads : 1), crew_(threads > 1 ? std::make_unique<Crew>(threads - 1) : nullptr) {}

ThreadPool::~ThreadPool() = default;

void ThreadPool::start(Task task) noexcept {
  if (crew_ == nullptr && threads_ > 1) hire();
  if (crew_ != nullptr && task.count > 1) return crew_->start(task);
  for (int i = 0; i < task.count; ++i) task.call(task.context, i);
}

// After a fork. Without other threads the caller does all parts, and the results are the same.
void ThreadPool::hire() noexcept {
  try {
    crew_ = std::make_unique<Crew>(threads_ - 1);
  } catch (const std::exception&) {
  }
}

// The threads are gone, but to join them, or to end the lock that they slept at, would wait for them: it is kept.
void ThreadPool::forked() noexcept { (void)crew_.release(); }

}  // namespace featherweight
