// Vec: the vector of one instruction set. Included by isa/*.cc alone, each of which defines
//
//   FW_ISA                     the namespace of everything that is compiled for the set: portable, avx2, ...
//   FW_ISA_AVX2, FW_ISA_AVX512, FW_ISA_NEON    1 for that set; none: portable
//
// Everything in it has the same meaning for each set:
//
//   Vec::kLanes                            L
//   load(p), store(p, v)                   p is aligned to a vector
//   load_any(p), store_any(p, v)           it is not
//   load_first(p, n), store_first(p, v, n) lanes 0 .. n-1, 0 <= n <= L; what is not loaded is 0
//   broadcast(x), broadcast_bits(bits)     a float, and one that is in a general register
//   a + b, a - b, a * b, a / b, -a
//   fma(a, b, c)                           a * b + c, rounded once or twice
//   min(a, b), max(a, b)                   b where either is not a number
//   sqrt(a), abs(a)
//   round(a)                               to the nearest integer, |a| < 2^31
//   times_power_of_two(a, n)               a * 2^n, for an integer -126 <= n <= 127
//   a < b, a == b                          a Mask: false where either is not a number
//   select(mask, a, b)                     a where the mask is set, else b
//   shift_lanes(v, shift, bits, other)     lane l: v's lane l + shift where bit l is set, else other's lane l
//   in_register(v)                         v, which the compiler does not load again for each use
//   sum(v)                                 of all lanes
//   prefetch(p), prefetch_second(p)        into the first cache, into the second
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/always_inline.h"

// Before a loop of a known number of turns: all of them are written out.
#if defined(__GNUC__)
#define FW_UNROLL _Pragma("GCC unroll 32")
#else
#define FW_UNROLL
#endif

#if defined(FW_ISA_AVX512)
#include "kernels/isa/vec_avx512.h"
#elif defined(FW_ISA_AVX2)
#include "kernels/isa/vec_avx2.h"
#elif defined(FW_ISA_NEON)
#include "kernels/isa/vec_neon.h"
#else
#include "kernels/isa/vec_portable.h"
#endif
