#include "base/fork_mutex.h"

#include <new>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace featherweight {

// All that are alive, in a list. Its lock is held while the process forks, so the list is whole in the child.
struct ForkRegistry {
  std::mutex mutex;
  ForkAware* first = nullptr;

  static ForkRegistry& get() {
    static ForkRegistry* const only = made();  // never deleted: it outlives whatever a static object holds
    return *only;
  }

  void add(ForkAware& item) noexcept {
    const std::lock_guard<std::mutex> lock(mutex);
    item.next_ = first;
    if (first != nullptr) first->previous_ = &item;
    first = &item;
  }
  void remove(ForkAware& item) noexcept {
    const std::lock_guard<std::mutex> lock(mutex);
    (item.previous_ != nullptr ? item.previous_->next_ : first) = item.next_;
    if (item.next_ != nullptr) item.next_->previous_ = item.previous_;
  }
  void tell_all() noexcept {
    for (ForkAware* item = first; item != nullptr; item = item->next_) item->forked();
  }

 private:
  static ForkRegistry* made() {
#if defined(__unix__) || defined(__APPLE__)
    const int failed = pthread_atfork([] { get().mutex.lock(); }, [] { get().mutex.unlock(); },
                                      [] {
                                        get().tell_all();
                                        get().mutex.unlock();
                                      });
    if (failed != 0) throw std::bad_alloc();  // the one error that it has
#endif
    return new ForkRegistry;
  }
};

ForkAware::ForkAware() { ForkRegistry::get().add(*this); }

ForkAware::~ForkAware() { ForkRegistry::get().remove(*this); }

}  // namespace featherweight
