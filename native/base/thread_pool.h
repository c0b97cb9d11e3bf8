// One pool a session: a few threads that do the same task on different parts.
//
// Operations of a network follow each other within microseconds, so a thread that has done its part spins for a
// while before it sleeps. Parts are claimed: where other processes keep a thread from running, the caller does its
// parts too, and does not wait for it. Nothing is allocated while running.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace featherweight {

class ThreadPool {
 public:
  // `threads` counts the caller: 1 makes no thread at all. May throw std::system_error.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const noexcept { return static_cast<int>(workers_.size()) + 1; }

  // f(index) for each index in [0, count), and returns when all are done. `f` must not throw, nor call run. From
  // one thread at a time.
  template <class F>
  void run(int count, F&& f) noexcept {
    using Function = std::remove_reference_t<F>;
    start({[](void* context, int index) { (*static_cast<Function*>(context))(index); },
           const_cast<void*>(static_cast<const void*>(&f)), count});
  }

 private:
  struct Task {
    void (*call)(void* context, int index) = nullptr;
    void* context = nullptr;
    int count = 0;
  };
  void start(Task task) noexcept;
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
};

}  // namespace featherweight
