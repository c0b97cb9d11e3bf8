// 16 lanes: AVX-512 F, BW, VL, DQ. See kernels/vec.h.
#pragma once

#include <immintrin.h>

namespace featherweight::FW_ISA {

struct Vec {
  static constexpr int kLanes = 16;
  __m512 raw;
};
struct Mask {
  __mmask16 raw;
};

FW_INLINE Mask first_lanes(int n) noexcept { return {static_cast<__mmask16>((1u << n) - 1u)}; }

FW_INLINE Vec load(const float* p) noexcept { return {_mm512_load_ps(p)}; }
FW_INLINE Vec load_any(const float* p) noexcept { return {_mm512_loadu_ps(p)}; }
FW_INLINE Vec load_first(const float* p, int n) noexcept { return {_mm512_maskz_loadu_ps(first_lanes(n).raw, p)}; }
FW_INLINE void store(float* p, Vec v) noexcept { _mm512_store_ps(p, v.raw); }
FW_INLINE void store_any(float* p, Vec v) noexcept { _mm512_storeu_ps(p, v.raw); }
FW_INLINE void store_first(float* p, Vec v, int n) noexcept { _mm512_mask_storeu_ps(p, first_lanes(n).raw, v.raw); }
FW_INLINE Vec broadcast(float x) noexcept { return {_mm512_set1_ps(x)}; }
FW_INLINE Vec broadcast_bits(std::uint32_t bits) noexcept {
  return {_mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(bits)))};
}

FW_INLINE Vec operator+(Vec a, Vec b) noexcept { return {_mm512_add_ps(a.raw, b.raw)}; }
FW_INLINE Vec operator-(Vec a, Vec b) noexcept { return {_mm512_sub_ps(a.raw, b.raw)}; }
FW_INLINE Vec operator*(Vec a, Vec b) noexcept { return {_mm512_mul_ps(a.raw, b.raw)}; }
FW_INLINE Vec operator/(Vec a, Vec b) noexcept { return {_mm512_div_ps(a.raw, b.raw)}; }
FW_INLINE Vec operator-(Vec a) noexcept { return {_mm512_xor_ps(a.raw, _mm512_set1_ps(-0.0f))}; }
FW_INLINE Vec fma(Vec a, Vec b, Vec c) noexcept { return {_mm512_fmadd_ps(a.raw, b.raw, c.raw)}; }
FW_INLINE Vec min(Vec a, Vec b) noexcept { return {_mm512_min_ps(a.raw, b.raw)}; }
FW_INLINE Vec max(Vec a, Vec b) noexcept { return {_mm512_max_ps(a.raw, b.raw)}; }
FW_INLINE Vec sqrt(Vec a) noexcept { return {_mm512_sqrt_ps(a.raw)}; }
FW_INLINE Vec abs(Vec a) noexcept { return {_mm512_andnot_ps(_mm512_set1_ps(-0.0f), a.raw)}; }
FW_INLINE Vec round(Vec a) noexcept { return {_mm512_roundscale_ps(a.raw, 0)}; }
FW_INLINE Vec times_power_of_two(Vec a, Vec n) noexcept { return {_mm512_scalef_ps(a.raw, n.raw)}; }

FW_INLINE Mask operator<(Vec a, Vec b) noexcept { return {_mm512_cmp_ps_mask(a.raw, b.raw, _CMP_LT_OQ)}; }
FW_INLINE Mask operator==(Vec a, Vec b) noexcept { return {_mm512_cmp_ps_mask(a.raw, b.raw, _CMP_EQ_OQ)}; }
FW_INLINE Vec select(Mask mask, Vec a, Vec b) noexcept { return {_mm512_mask_blend_ps(mask.raw, b.raw, a.raw)}; }

FW_INLINE Vec shift_lanes(Vec v, int shift, std::uint32_t bits, Vec other) noexcept {
  const __m512i iota = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i from = _mm512_add_epi32(iota, _mm512_set1_epi32(shift));
  return {_mm512_mask_permutexvar_ps(other.raw, static_cast<__mmask16>(bits), from, v.raw)};
}
FW_INLINE Vec in_register(Vec v) noexcept {
#if defined(__GNUC__)
  __asm__("" : "+v"(v.raw));
#endif
  return v;
}
FW_INLINE float sum(Vec v) noexcept { return _mm512_reduce_add_ps(v.raw); }
FW_INLINE void prefetch(const void* p) noexcept { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
FW_INLINE void prefetch_second(const void* p) noexcept { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

}  // namespace featherweight::FW_ISA
