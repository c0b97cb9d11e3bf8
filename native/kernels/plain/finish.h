// The activation at the end of a plain operation.
#pragma once

#include "kernels/plain/plain.h"

namespace featherweight::plain {

// What is finished at once: it is still in the first cache.
inline constexpr std::int64_t kFinishBlock = 4096;

inline void finish(const Finish& finish, float* data, std::int64_t size) noexcept {
  if (finish.activation.kind == ActivationKind::kNone || size <= 0) return;
  finish.unary({data, data, size, finish.activation}, Part{});
}

}  // namespace featherweight::plain
