// Weights as kernels want them, shared by all plans and contexts of a model that want the same.
//
// What packing depends on is what the packing function is given: the constant, and its other arguments (sizes, tiles,
// blocks). Those are the key, byte by byte, so that an argument that is added is part of it. The cache itself keeps
// nothing alive: what no plan uses any more is gone.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "base/fork_mutex.h"
#include "plan/constants.h"

namespace featherweight {

class PackedCache {
 public:
  // pack(the constant as a matrix, facts...), or what it gave before.
  template <class Packed, class Weights, class... Facts>
  std::shared_ptr<const Packed> packed(ConstantId id, const Constant& constant,
                                       Packed (*pack)(const Weights&, Facts...),
                                       const std::decay_t<Facts>&... facts) {
    Key key{reinterpret_cast<std::uintptr_t>(pack), id, {}};
    (append(std::get<std::string>(key), facts), ...);
    return shared<Packed>(std::move(key), [&] { return pack(constant.matrix<Weights>().view(), facts...); });
  }

  // All its numbers, zeros included.
  std::shared_ptr<const AlignedVector<float>> dense(ConstantId id, const Constant& constant) {
    return shared<AlignedVector<float>>({0, id, {}}, [&] { return constant.dense(); });
  }

  // How often something was packed, and not found here.
  std::int64_t misses() const {
    const ForkLock lock(mutex_);
    return misses_;
  }

 private:
  using Key = std::tuple<std::uintptr_t, ConstantId, std::string>;  // function, constant, the bytes of its facts

  template <class Fact>
  static void append(std::string& bytes, const Fact& fact) {
    static_assert(std::has_unique_object_representations_v<Fact>, "equal facts should have equal bytes");
    bytes.append(reinterpret_cast<const char*>(&fact), sizeof fact);
  }

  // One packs at a time: contexts that plan the same at the same time do it once.
  template <class Packed, class Pack>
  std::shared_ptr<const Packed> shared(Key key, Pack pack) {
    const ForkLock lock(mutex_);
    if (!lock.owned()) return std::make_shared<const Packed>(pack());  // lost to a fork: each for itself
    const auto found = entries_.find(key);
    if (found != entries_.end())
      if (auto kept = found->second.lock()) return std::static_pointer_cast<const Packed>(std::move(kept));
    auto made = std::make_shared<const Packed>(pack());
    ++misses_;
    forget();
    entries_[std::move(key)] = made;
    return made;
  }

  void forget() {
    for (auto entry = entries_.begin(); entry != entries_.end();)
      entry = entry->second.expired() ? entries_.erase(entry) : std::next(entry);
  }

  mutable ForkMutex mutex_;
  std::map<Key, std::weak_ptr<const void>> entries_;
  std::int64_t misses_ = 0;
};

}  // namespace featherweight
