// exp, erf and their kind, on vectors. Included by what is compiled for one instruction set.
//
// Errors are a few units in the last place of a float32 where the result is a normal number; smaller results are 0
// or near it. NaN gives NaN. min and max give their second argument where one is NaN: the order of arguments below
// keeps it. Polynomials are minimax fits of the relative error, made for these intervals; formulas stand at each.
#pragma once

#include "kernels/vec.h"

namespace featherweight::FW_ISA {

// c[0] + c[1] x + ... + c[N-1] x^(N-1)
template <int N>
FW_INLINE Vec polynomial(Vec x, const float (&c)[N]) noexcept {
  Vec y = broadcast(c[N - 1]);
  FW_UNROLL for (int i = N - 2; i >= 0; --i) y = fma(y, x, broadcast(c[i]));
  return y;
}

// What exp and expm1 share: e^x = 2^n (1 + m), |m| < 0.42, -125 <= n <= 128. x is clamped to what has such an n.
struct ExpParts {
  Vec n, m;
};

constexpr float kExpLow = -87.0f;   // exp is 1.6e-38 there, next to the smallest normal number
constexpr float kExpHigh = 89.0f;   // overflows

FW_INLINE ExpParts exp_parts(Vec x, float high = kExpHigh) noexcept {
  constexpr float kCoefficients[] = {0.5000000063f, 0.1666654171f, 0.041666278f, 0.0083667558f, 0.0013946748f};
  x = max(broadcast(kExpLow), min(broadcast(high), x));
  // This bound is for NaN, which may not reach times_power_of_two.
  const Vec n = max(round(x * broadcast(1.44269504f)), broadcast(-126.0f));
  const Vec r = fma(n, broadcast(2.12194440e-4f), fma(n, broadcast(-0.693359375f), x));  // x - n ln 2
  return {n, fma(r * r, polynomial(r, kCoefficients), r)};
}

// Below kExpLow it is 0.
FW_INLINE Vec exp(Vec x) noexcept {
  const ExpParts parts = exp_parts(x);
  // In two steps, for 2^128 is too large for a float.
  const Vec half = times_power_of_two(parts.m + broadcast(1.0f), parts.n - broadcast(1.0f));
  return select(x < broadcast(kExpLow), broadcast(0.0f), half + half);
}

// From e^-87 = 1.6e-38, next to the smallest normal number, to e^88 = 1.7e38, next to the largest: for what is added to
// something, or divides it.
FW_INLINE Vec bounded_exp(Vec x) noexcept {
  const ExpParts parts = exp_parts(x, 88.0f);
  return times_power_of_two(parts.m + broadcast(1.0f), parts.n);
}

// e^x - 1 for x <= 0, without cancellation.
FW_INLINE Vec expm1_of_negative(Vec x) noexcept {
  const ExpParts parts = exp_parts(x);
  const Vec power = times_power_of_two(broadcast(1.0f), parts.n);
  return fma(parts.m, power, power - broadcast(1.0f));
}

FW_INLINE Vec sigmoid(Vec x) noexcept { return broadcast(1.0f) / (broadcast(1.0f) + bounded_exp(-x)); }

// tanh |x| = -e / (e + 2) where e = expm1(-2 |x|)
FW_INLINE Vec tanh(Vec x) noexcept {
  const Vec e = expm1_of_negative(broadcast(-2.0f) * abs(x));
  const Vec t = e / (e + broadcast(2.0f));
  return select(x < broadcast(0.0f), t, -t);
}

// erfc(x) = e^(-x^2) t Q(t) where t = 1 / (1 + 0.4 x), for 0 <= x; from 10 on it is 0 in float32.
FW_INLINE Vec erfc_of_positive(Vec x) noexcept {
  constexpr float kCoefficients[] = {0.2257062235f,  0.2249653426f, 0.2148084959f,  0.1301953433f, 0.2705755459f,
                                     -0.2815917131f, 0.5441015422f, -0.4963134042f, 0.1969516331f, -0.0293990012f};
  x = min(broadcast(10.0f), x);
  const Vec t = broadcast(1.0f) / fma(x, broadcast(0.4f), broadcast(1.0f));
  const Vec square = x * x;
  const Vec lost = fma(x, x, -square);  // by rounding the square; 0 where fma rounds twice
  const Vec gauss = bounded_exp(-square);
  return (gauss - gauss * lost) * (t * polynomial(t, kCoefficients));
}

FW_INLINE Vec erf(Vec x) noexcept {
  constexpr float kCoefficients[] = {1.1283791666f,   -0.37612633854f,   0.11283697326f,  -0.026859500133f,
                                     5.2012861176e-3f, -8.1455977214e-4f, 8.3823906799e-5f};
  const Vec size = abs(x);
  const Vec near = x * polynomial(x * x, kCoefficients);  // |x| < 0.92
  const Vec far = broadcast(1.0f) - erfc_of_positive(size);
  return select(size < broadcast(0.9f), near, select(x < broadcast(0.0f), -far, far));
}

// log(1 + x) for 0 <= x <= 1: 2 atanh(s) where s = x / (2 + x) <= 1/3
FW_INLINE Vec log1p_of_fraction(Vec x) noexcept {
  constexpr float kCoefficients[] = {0.3333333781f, 0.1999943887f, 0.1430844246f, 0.1071382804f, 0.1215047131f};
  const Vec s = x / (x + broadcast(2.0f));
  const Vec square = s * s;
  const Vec atanh = fma(s * square, polynomial(square, kCoefficients), s);
  return atanh + atanh;
}

}  // namespace featherweight::FW_ISA
