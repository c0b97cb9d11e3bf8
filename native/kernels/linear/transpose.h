// Transposition of L vectors. Included by what is compiled for one instruction set.
#pragma once

#include "kernels/vec.h"

namespace featherweight::FW_ISA {

// (a0, b0, a1, b1, ...) of the lower and of the upper halves of both.
#if defined(FW_ISA_AVX512)
FW_INLINE Vec interleave_low(Vec a, Vec b) noexcept {
  const __m512i from = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  return {_mm512_permutex2var_ps(a.raw, from, b.raw)};
}
FW_INLINE Vec interleave_high(Vec a, Vec b) noexcept {
  const __m512i from = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  return {_mm512_permutex2var_ps(a.raw, from, b.raw)};
}
#elif defined(FW_ISA_AVX2)
FW_INLINE Vec interleave_low(Vec a, Vec b) noexcept {
  return {_mm256_permute2f128_ps(_mm256_unpacklo_ps(a.raw, b.raw), _mm256_unpackhi_ps(a.raw, b.raw), 0x20)};
}
FW_INLINE Vec interleave_high(Vec a, Vec b) noexcept {
  return {_mm256_permute2f128_ps(_mm256_unpacklo_ps(a.raw, b.raw), _mm256_unpackhi_ps(a.raw, b.raw), 0x31)};
}
#elif defined(FW_ISA_NEON)
FW_INLINE Vec interleave_low(Vec a, Vec b) noexcept { return {vzip1q_f32(a.raw, b.raw)}; }
FW_INLINE Vec interleave_high(Vec a, Vec b) noexcept { return {vzip2q_f32(a.raw, b.raw)}; }
#else
FW_INLINE Vec interleave_low(Vec a, Vec b) noexcept {
  Vec v{};
  FW_LANES v.raw[lane] = lane % 2 == 0 ? a.raw[lane / 2] : b.raw[lane / 2];
  return v;
}
FW_INLINE Vec interleave_high(Vec a, Vec b) noexcept {
  Vec v{};
  FW_LANES v.raw[lane] = lane % 2 == 0 ? a.raw[2 + lane / 2] : b.raw[2 + lane / 2];
  return v;
}
#endif

// Seen as one row of L * L numbers, interleaving the halves rotates the bits of a number's place to the left by one;
// log2(L) times swaps row and column.
FW_INLINE void transpose(Vec (&rows)[Vec::kLanes]) noexcept {
  constexpr int kHalf = Vec::kLanes / 2;
  FW_UNROLL for (int step = 1; step < Vec::kLanes; step *= 2) {
    Vec next[Vec::kLanes];
    FW_UNROLL for (int i = 0; i < kHalf; ++i) {
      next[2 * i] = interleave_low(rows[i], rows[i + kHalf]);
      next[2 * i + 1] = interleave_high(rows[i], rows[i + kHalf]);
    }
    FW_UNROLL for (int i = 0; i < Vec::kLanes; ++i) rows[i] = next[i];
  }
}

}  // namespace featherweight::FW_ISA
