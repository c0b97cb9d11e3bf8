// Numbers that are written once, when a layer is packed, and read by kernels.
//
// Unlike a vector it hands out its pointer without a function call: see isa/compile.inl for why that matters.
#pragma once

#include <cstddef>
#include <utility>

#include "base/aligned.h"

namespace featherweight {

template <class T>
struct Array {
  const T* data = nullptr;
  std::size_t size = 0;

  Array() = default;
  explicit Array(AlignedVector<T> items) : items_(std::move(items)) { point(); }
  Array(Array&& other) noexcept : items_(std::move(other.items_)) {
    point();
    other.point();
  }
  Array& operator=(Array&& other) noexcept {
    items_ = std::move(other.items_);
    point();
    other.point();
    return *this;
  }

 private:
  void point() noexcept {
    data = items_.data();
    size = items_.size();
  }
  AlignedVector<T> items_;
};

}  // namespace featherweight
