// What the processor can do at most: independent multiply-adds in registers, one thread.
#pragma once

#include <chrono>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

namespace featherweight::bench {

inline double now() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

constexpr int kPeakTurns = 20000;

#if defined(__x86_64__) && defined(__GNUC__)
// The assembly keeps twelve sums in twelve registers, whatever the compiler thinks of the loop.
#define FW_PEAK_LOOP(Raw, constraint, instruction)                                                   \
  Raw sums[12] = {};                                                                                 \
  Raw factor = {};                                                                                   \
  for (int turn = 0; turn < kPeakTurns; ++turn)                                                      \
    _Pragma("GCC unroll 12") for (int i = 0; i < 12; ++i)                                            \
      __asm__ volatile(instruction " %1, %1, %0" : "+" constraint(sums[i]) : constraint(factor));

__attribute__((target("avx512f"))) inline void peak_16() { FW_PEAK_LOOP(__m512, "v", "vfmadd231ps") }
__attribute__((target("avx2,fma"))) inline void peak_8() { FW_PEAK_LOOP(__m256, "x", "vfmadd231ps") }
#undef FW_PEAK_LOOP
#endif

// GFLOP/s with vectors of 16 or 8 lanes; 0 where it is not known how.
inline double peak(int lanes) {
  double best = 0.0;
#if defined(__x86_64__) && defined(__GNUC__)
  for (int round = 0; round < 20; ++round) {
    const double start = now();
    if (lanes == 16) peak_16();
    if (lanes == 8) peak_8();
    if (lanes < 8) return 0.0;
    const double rate = 2.0 * lanes * 12 * kPeakTurns / (now() - start) * 1e-9;
    best = rate > best ? rate : best;
  }
#endif
  return best;
}

}  // namespace featherweight::bench
