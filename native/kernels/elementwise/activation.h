// Activations of vectors. Included by what is compiled for one instruction set.
//
// activate(kind, x, a, b)       with a constant kind, no branch is left
// activate_row(activation, ...)  in place, for results that are still in the cache
// clamp_of(activation)          none, relu and clip are all a clamp: two instructions, worth fusing
//
// NaN stays NaN. The gated ones (silu, gelu, hard_swish) go to 0 at minus infinity.
#pragma once

#include <cmath>

#include "kernels/elementwise/functions.h"
#include "kernels/operations.h"

namespace featherweight::FW_ISA {

struct Clamp {
  bool is_clamp = false;
  float low = 0.0f, high = 0.0f;  // min(high, max(low, x))
};

FW_INLINE Clamp clamp_of(const Activation& activation) noexcept {
  constexpr float kInfinity = INFINITY;
  switch (activation.kind) {
    case ActivationKind::kNone: return {true, -kInfinity, kInfinity};
    case ActivationKind::kRelu: return {true, 0.0f, kInfinity};
    case ActivationKind::kClip: return {true, activation.a, activation.b};
    default: return {};
  }
}

FW_INLINE Vec clamp(Vec x, Vec low, Vec high) noexcept { return min(high, max(low, x)); }

// x Phi(x), where Phi(-|x|) = erfc(|x| / sqrt 2) / 2: exact to the last digits in the tail, too
FW_INLINE Vec gelu(Vec x) noexcept {
  const Vec tail = broadcast(0.5f) * erfc_of_positive(abs(x) * broadcast(0.707106781f));
  const Vec bounded = clamp(x, broadcast(-20.0f), broadcast(20.0f));  // not inf * 0
  return select(x < broadcast(0.0f), bounded * tail, x - bounded * tail);
}

// x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3)), which is x (1 + tanh(...)) / 2
FW_INLINE Vec gelu_tanh(Vec x) noexcept {
  const Vec bounded = max(broadcast(-20.0f), x);
  const Vec cubic = bounded * fma(bounded * bounded, broadcast(0.0713548163f), broadcast(1.59576912f));
  return bounded / (broadcast(1.0f) + bounded_exp(-cubic));
}

FW_INLINE Vec silu(Vec x) noexcept { return max(broadcast(-100.0f), x) / (broadcast(1.0f) + bounded_exp(-x)); }

FW_INLINE Vec hard_swish(Vec x) noexcept {
  const Vec gate = fma(x, broadcast(1.0f / 6.0f), broadcast(0.5f));
  return max(broadcast(-3.0f), x) * clamp(gate, broadcast(0.0f), broadcast(1.0f));
}

FW_INLINE Vec softplus(Vec x) noexcept { return max(broadcast(0.0f), x) + log1p_of_fraction(bounded_exp(-abs(x))); }

FW_INLINE Vec activate(ActivationKind kind, Vec x, Vec a, Vec b) noexcept {
  const Vec zero = broadcast(0.0f);
  switch (kind) {
    case ActivationKind::kNone: return x;
    case ActivationKind::kRelu: return max(zero, x);
    case ActivationKind::kClip: return clamp(x, a, b);
    case ActivationKind::kLeakyRelu: return select(x < zero, a * x, x);
    case ActivationKind::kSigmoid: return sigmoid(x);
    case ActivationKind::kTanh: return tanh(x);
    case ActivationKind::kHardSigmoid: return clamp(fma(a, x, b), zero, broadcast(1.0f));
    case ActivationKind::kHardSwish: return hard_swish(x);
    case ActivationKind::kSilu: return silu(x);
    case ActivationKind::kGelu: return gelu(x);
    case ActivationKind::kGeluTanh: return gelu_tanh(x);
    case ActivationKind::kExp: return exp(x);
    case ActivationKind::kSqrt: return sqrt(x);
    case ActivationKind::kAbs: return abs(x);
    case ActivationKind::kNeg: return -x;
    case ActivationKind::kErf: return erf(x);
    case ActivationKind::kElu: return select(x < zero, a * expm1_of_negative(x), x);
    case ActivationKind::kSoftplus: return softplus(x);
  }
  return x;
}

// A kind that is known when compiling.
template <ActivationKind kValue>
struct Kind {
  static constexpr ActivationKind value = kValue;
};

// Calls body(Kind<kind>{}): one copy of the body a kind, so keep it small.
template <class Body>
FW_INLINE void with_kind(ActivationKind kind, Body body) noexcept {
#define FW_KIND(name) \
  case ActivationKind::name: return body(Kind<ActivationKind::name>{});
  switch (kind) {
    FW_KIND(kNone)
    FW_KIND(kRelu)
    FW_KIND(kClip)
    FW_KIND(kLeakyRelu)
    FW_KIND(kSigmoid)
    FW_KIND(kTanh)
    FW_KIND(kHardSigmoid)
    FW_KIND(kHardSwish)
    FW_KIND(kSilu)
    FW_KIND(kGelu)
    FW_KIND(kGeluTanh)
    FW_KIND(kExp)
    FW_KIND(kSqrt)
    FW_KIND(kAbs)
    FW_KIND(kNeg)
    FW_KIND(kErf)
    FW_KIND(kElu)
    FW_KIND(kSoftplus)
  }
#undef FW_KIND
}

// data[0 .. vectors * L), aligned, becomes act of itself. One copy of its many loops is enough.
FW_NO_INLINE inline void activate_row(const Activation& activation, float* data, std::ptrdiff_t vectors) noexcept {
  const Vec a = broadcast(activation.a), b = broadcast(activation.b);
  with_kind(activation.kind, [&](auto kind) noexcept {
    for (std::ptrdiff_t i = 0; i < vectors * Vec::kLanes; i += Vec::kLanes)
      store(data + i, activate(decltype(kind)::value, load(data + i), a, b));
  });
}

}  // namespace featherweight::FW_ISA
