// The activations by the book, in double: what the vectorised ones are tested against.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/operations.h"

namespace featherweight::naive {

// Bounds as comparisons that are false for NaN, so that NaN passes through.
inline double clamp(double x, double low, double high) {
  const double raised = x < low ? low : x;
  return raised > high ? high : raised;
}

inline double sigmoid(double x) { return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }

inline double softplus(double x) { return std::isnan(x) ? x : std::max(x, 0.0) + std::log1p(std::exp(-std::fabs(x))); }

// x times a gate that is 0 at minus infinity: the limit there is 0, not the NaN of inf * 0.
inline double gated(double x, double gate) { return gate == 0 ? 0 : x * gate; }

inline double gelu(double x) { return gated(x, 0.5 * std::erfc(-x * 0.7071067811865475244)); }

inline double gelu_tanh(double x) {
  return gated(x, sigmoid(2 * 0.7978845608028653559 * (x + 0.044715 * x * x * x)));
}

inline float activate(const Activation& activation, float value) {
  const double x = value, a = activation.a, b = activation.b;
  switch (activation.kind) {
    case ActivationKind::kNone: return value;
    case ActivationKind::kRelu: return value < 0 ? 0.0f : value;
    case ActivationKind::kClip: return static_cast<float>(clamp(x, a, b));
    case ActivationKind::kLeakyRelu: return value < 0 ? activation.a * value : value;
    case ActivationKind::kSigmoid: return static_cast<float>(sigmoid(x));
    case ActivationKind::kTanh: return static_cast<float>(std::tanh(x));
    case ActivationKind::kHardSigmoid: return static_cast<float>(clamp(a * x + b, 0, 1));
    case ActivationKind::kHardSwish: return static_cast<float>(gated(x, clamp(x / 6 + 0.5, 0, 1)));
    case ActivationKind::kSilu: return static_cast<float>(gated(x, sigmoid(x)));
    case ActivationKind::kGelu: return static_cast<float>(gelu(x));
    case ActivationKind::kGeluTanh: return static_cast<float>(gelu_tanh(x));
    case ActivationKind::kExp: return static_cast<float>(std::exp(x));
    case ActivationKind::kSqrt: return std::sqrt(value);
    case ActivationKind::kAbs: return std::fabs(value);
    case ActivationKind::kNeg: return -value;
    case ActivationKind::kErf: return static_cast<float>(std::erf(x));
    case ActivationKind::kElu: return static_cast<float>(value < 0 ? a * std::expm1(x) : x);
    case ActivationKind::kSoftplus: return static_cast<float>(softplus(x));
  }
  return value;
}

}  // namespace featherweight::naive
