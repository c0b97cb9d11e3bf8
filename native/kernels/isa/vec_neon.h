// 4 lanes: AArch64. See kernels/vec.h.
#pragma once

#include <arm_neon.h>

namespace featherweight::FW_ISA {

struct Vec {
  static constexpr int kLanes = 4;
  float32x4_t raw;
};
struct Mask {
  uint32x4_t raw;  // all bits of a lane, or none
};

FW_INLINE Vec load(const float* p) noexcept { return {vld1q_f32(p)}; }
FW_INLINE Vec load_any(const float* p) noexcept { return {vld1q_f32(p)}; }
FW_INLINE void store(float* p, Vec v) noexcept { vst1q_f32(p, v.raw); }
FW_INLINE void store_any(float* p, Vec v) noexcept { vst1q_f32(p, v.raw); }
FW_INLINE Vec load_first(const float* p, int n) noexcept {
  float four[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  for (int lane = 0; lane < n; ++lane) four[lane] = p[lane];
  return load(four);
}
FW_INLINE void store_first(float* p, Vec v, int n) noexcept {
  float four[4];
  store(four, v);
  for (int lane = 0; lane < n; ++lane) p[lane] = four[lane];
}
FW_INLINE Vec broadcast(float x) noexcept { return {vdupq_n_f32(x)}; }
FW_INLINE Vec broadcast_bits(std::uint32_t bits) noexcept { return {vreinterpretq_f32_u32(vdupq_n_u32(bits))}; }

FW_INLINE Vec operator+(Vec a, Vec b) noexcept { return {vaddq_f32(a.raw, b.raw)}; }
FW_INLINE Vec operator-(Vec a, Vec b) noexcept { return {vsubq_f32(a.raw, b.raw)}; }
FW_INLINE Vec operator*(Vec a, Vec b) noexcept { return {vmulq_f32(a.raw, b.raw)}; }
FW_INLINE Vec operator/(Vec a, Vec b) noexcept { return {vdivq_f32(a.raw, b.raw)}; }
FW_INLINE Vec operator-(Vec a) noexcept { return {vnegq_f32(a.raw)}; }
FW_INLINE Vec fma(Vec a, Vec b, Vec c) noexcept { return {vfmaq_f32(c.raw, a.raw, b.raw)}; }

FW_INLINE Mask operator<(Vec a, Vec b) noexcept { return {vcltq_f32(a.raw, b.raw)}; }
FW_INLINE Mask operator==(Vec a, Vec b) noexcept { return {vceqq_f32(a.raw, b.raw)}; }
FW_INLINE Vec select(Mask mask, Vec a, Vec b) noexcept { return {vbslq_f32(mask.raw, a.raw, b.raw)}; }

FW_INLINE Vec min(Vec a, Vec b) noexcept { return select(a < b, a, b); }
FW_INLINE Vec max(Vec a, Vec b) noexcept { return select(b < a, a, b); }
FW_INLINE Vec sqrt(Vec a) noexcept { return {vsqrtq_f32(a.raw)}; }
FW_INLINE Vec abs(Vec a) noexcept { return {vabsq_f32(a.raw)}; }
FW_INLINE Vec round(Vec a) noexcept { return {vrndnq_f32(a.raw)}; }
FW_INLINE Vec times_power_of_two(Vec a, Vec n) noexcept {
  const int32x4_t exponent = vaddq_s32(vcvtq_s32_f32(n.raw), vdupq_n_s32(127));
  return {vmulq_f32(a.raw, vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23)))};
}

FW_INLINE Vec shift_lanes(Vec v, int shift, std::uint32_t bits, Vec other) noexcept {
  float from[4], to[4];
  store(from, v);
  store(to, other);
  for (int lane = 0; lane < 4; ++lane)
    if (((bits >> lane) & 1u) != 0) to[lane] = from[lane + shift];
  return load(to);
}
FW_INLINE Vec in_register(Vec v) noexcept {
#if defined(__GNUC__)
  __asm__("" : "+w"(v.raw));
#endif
  return v;
}
FW_INLINE float sum(Vec v) noexcept { return vaddvq_f32(v.raw); }
FW_INLINE void prefetch(const void* p) noexcept {
#if defined(__GNUC__)
  __builtin_prefetch(p);
#else
  (void)p;
#endif
}
FW_INLINE void prefetch_second(const void* p) noexcept {
#if defined(__GNUC__)
  __builtin_prefetch(p, 0, 2);
#else
  (void)p;
#endif
}

}  // namespace featherweight::FW_ISA
