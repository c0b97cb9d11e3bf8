// One pool a session: a few threads that do the same task on different parts.
//
// Operations of a network follow each other within microseconds, so a thread that has done its part spins for a
// while before it sleeps. Nothing is allocated while running, and the caller takes part.
#pragma once

#include <atomic>
#include <condition_variable>
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
  void do_share(int worker) noexcept;
  void work(int worker) noexcept;
  unsigned wait_for_task(unsigned seen) noexcept;

  Task task_;
  alignas(64) std::atomic<unsigned> generation_{0};  // of tasks; its change starts one
  alignas(64) std::atomic<int> pending_{0};          // workers that have not done their share
  alignas(64) std::atomic<int> sleepers_{0};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
};

}  // namespace featherweight
