// One pool a context: a few threads that do the same task on different parts.
//
// Operations of a network follow each other within microseconds, so a thread that has done its part spins for a
// while before it sleeps. Parts are claimed: where other processes keep a thread from running, the caller does its
// parts too, and does not wait for it. Nothing is allocated while running.
//
// A process that is forked has none of these threads: there, the first task makes new ones.
#pragma once

#include <memory>
#include <type_traits>

#include "base/fork_mutex.h"

namespace featherweight {

class ThreadPool final : ForkAware {
 public:
  // `threads` counts the caller: 1 makes no thread at all. May throw std::system_error.
  explicit ThreadPool(int threads);
  ~ThreadPool();

  int threads() const noexcept { return threads_; }

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
  class Crew;  // the other threads, and what they share with the caller

  void start(Task task) noexcept;
  void hire() noexcept;
  void forked() noexcept override;

  int threads_;
  std::unique_ptr<Crew> crew_;
};

}  // namespace featherweight
