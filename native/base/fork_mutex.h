// Locks in a process that forks. A child has the thread that forked and no other: a lock that another thread held is
// never given back there. Such a lock is lost, and whoever asks for it is told, instead of waiting for ever.
#pragma once

#include <mutex>

namespace featherweight {

// Something that is told, in a child, that its process was forked: there is one thread then.
class ForkAware {
 public:
  ForkAware(const ForkAware&) = delete;
  ForkAware& operator=(const ForkAware&) = delete;
  virtual void forked() noexcept {}

 protected:
  ForkAware();
  ~ForkAware();

 private:
  friend struct ForkRegistry;
  ForkAware *next_ = nullptr, *previous_ = nullptr;
};

class ForkMutex final : ForkAware {
 private:
  friend class ForkLock;
  void forked() noexcept override {
    lost_ = lost_ || !mutex_.try_lock();
    if (!lost_) mutex_.unlock();
  }

  std::mutex mutex_;
  bool lost_ = false;  // written in forked alone
};

class ForkLock {
 public:
  explicit ForkLock(ForkMutex& mutex) : mutex_(mutex) {
    if (owned()) mutex_.mutex_.lock();
  }
  ~ForkLock() {
    if (owned()) mutex_.mutex_.unlock();
  }
  ForkLock(const ForkLock&) = delete;
  ForkLock& operator=(const ForkLock&) = delete;

  bool owned() const noexcept { return !mutex_.lost_; }

 private:
  ForkMutex& mutex_;
};

}  // namespace featherweight
