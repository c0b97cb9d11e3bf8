// 8 lanes: AVX2 and FMA. See kernels/vec.h.
#pragma once

#include <immintrin.h>

namespace featherweight::FW_ISA {

struct Vec {
  static constexpr int kLanes = 8;
  __m256 raw;
};
struct Mask {
  __m256 raw;  // all bits of a lane, or none
};

FW_INLINE __m256i lane_numbers() noexcept { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
FW_INLINE __m256i first_lanes(int n) noexcept { return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), lane_numbers()); }

FW_INLINE Vec load(const float* p) noexcept { return {_mm256_load_ps(p)}; }
FW_INLINE Vec load_any(const float* p) noexcept { return {_mm256_loadu_ps(p)}; }
FW_INLINE Vec load_first(const float* p, int n) noexcept { return {_mm256_maskload_ps(p, first_lanes(n))}; }
FW_INLINE void store(float* p, Vec v) noexcept { _mm256_store_ps(p, v.raw); }
FW_INLINE void store_any(float* p, Vec v) noexcept { _mm256_storeu_ps(p, v.raw); }
FW_INLINE void store_first(float* p, Vec v, int n) noexcept { _mm256_maskstore_ps(p, first_lanes(n), v.raw); }
FW_INLINE Vec broadcast(float x) noexcept { return {_mm256_set1_ps(x)}; }
FW_INLINE Vec broadcast_bits(std::uint32_t bits) noexcept {
  return {_mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int>(bits)))};
}

FW_INLINE Vec operator+(Vec a, Vec b) noexcept { return {_mm256_add_ps(a.raw, b.raw)}; }
FW_INLINE Vec operator-(Vec a, Vec b) noexcept { return {_mm256_sub_ps(a.raw, b.raw)}; }
FW_INLINE Vec operator*(Vec a, Vec b) noexcept { return {_mm256_mul_ps(a.raw, b.raw)}; }
FW_INLINE Vec operator/(Vec a, Vec b) noexcept { return {_mm256_div_ps(a.raw, b.raw)}; }
FW_INLINE Vec operator-(Vec a) noexcept { return {_mm256_xor_ps(a.raw, _mm256_set1_ps(-0.0f))}; }
FW_INLINE Vec fma(Vec a, Vec b, Vec c) noexcept { return {_mm256_fmadd_ps(a.raw, b.raw, c.raw)}; }
FW_INLINE Vec min(Vec a, Vec b) noexcept { return {_mm256_min_ps(a.raw, b.raw)}; }
FW_INLINE Vec max(Vec a, Vec b) noexcept { return {_mm256_max_ps(a.raw, b.raw)}; }
FW_INLINE Vec sqrt(Vec a) noexcept { return {_mm256_sqrt_ps(a.raw)}; }
FW_INLINE Vec abs(Vec a) noexcept { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.raw)}; }
FW_INLINE Vec round(Vec a) noexcept {
  return {_mm256_round_ps(a.raw, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
FW_INLINE Vec times_power_of_two(Vec a, Vec n) noexcept {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n.raw), _mm256_set1_epi32(127));
  return {_mm256_mul_ps(a.raw, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)))};
}

FW_INLINE Mask operator<(Vec a, Vec b) noexcept { return {_mm256_cmp_ps(a.raw, b.raw, _CMP_LT_OQ)}; }
FW_INLINE Mask operator==(Vec a, Vec b) noexcept { return {_mm256_cmp_ps(a.raw, b.raw, _CMP_EQ_OQ)}; }
FW_INLINE Vec select(Mask mask, Vec a, Vec b) noexcept { return {_mm256_blendv_ps(b.raw, a.raw, mask.raw)}; }

FW_INLINE Vec shift_lanes(Vec v, int shift, std::uint32_t bits, Vec other) noexcept {
  const __m256i own = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i set = _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits)), own);
  const __m256 chosen = _mm256_castsi256_ps(_mm256_cmpeq_epi32(set, own));
  const __m256i from = _mm256_add_epi32(lane_numbers(), _mm256_set1_epi32(shift));
  return {_mm256_blendv_ps(other.raw, _mm256_permutevar8x32_ps(v.raw, from), chosen)};
}
FW_INLINE Vec in_register(Vec v) noexcept {
#if defined(__GNUC__)
  __asm__("" : "+x"(v.raw));
#endif
  return v;
}
FW_INLINE float sum(Vec v) noexcept {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v.raw), _mm256_extractf128_ps(v.raw, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
FW_INLINE void prefetch(const void* p) noexcept { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
FW_INLINE void prefetch_second(const void* p) noexcept { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

}  // namespace featherweight::FW_ISA
