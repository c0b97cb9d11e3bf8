// 4 lanes of plain C++, for any processor: where the compiler knows vectors they are its own, else arrays.
// See kernels/vec.h.
#pragma once

#include <cmath>
#include <cstring>

namespace featherweight::FW_ISA {

struct Vec {
  static constexpr int kLanes = 4;
#if defined(__GNUC__)
  float raw __attribute__((vector_size(16)));
#else
  alignas(16) float raw[4];
#endif
};
struct Mask {
#if defined(__GNUC__)
  std::int32_t raw __attribute__((vector_size(16)));  // -1 or 0
#else
  std::int32_t raw[4];
#endif
};

#define FW_LANES FW_UNROLL for (int lane = 0; lane < 4; ++lane)

FW_INLINE Vec load_any(const float* p) noexcept {
  Vec v;
  std::memcpy(&v.raw, p, sizeof v.raw);
  return v;
}
FW_INLINE void store_any(float* p, Vec v) noexcept { std::memcpy(p, &v.raw, sizeof v.raw); }
FW_INLINE Vec load(const float* p) noexcept {
#if defined(__GNUC__)
  p = static_cast<const float*>(__builtin_assume_aligned(p, 16));
#endif
  return load_any(p);
}
FW_INLINE void store(float* p, Vec v) noexcept {
#if defined(__GNUC__)
  p = static_cast<float*>(__builtin_assume_aligned(p, 16));
#endif
  store_any(p, v);
}
FW_INLINE Vec load_first(const float* p, int n) noexcept {
  Vec v{};
  FW_LANES v.raw[lane] = lane < n ? p[lane] : 0.0f;
  return v;
}
FW_INLINE void store_first(float* p, Vec v, int n) noexcept {
  FW_LANES if (lane < n) p[lane] = v.raw[lane];
}

// What both spell the same way: `vectors` of compilers that have them, `scalars` of those that do not.
#if defined(__GNUC__)
#define FW_BY_LANE(Type, vectors, scalars) return Type{vectors}
#else
#define FW_BY_LANE(Type, vectors, scalars) \
  Type result;                             \
  FW_LANES result.raw[lane] = (scalars);   \
  return result
#endif

FW_INLINE Vec broadcast(float x) noexcept {
#if defined(__GNUC__)
  return Vec{decltype(Vec::raw){x, x, x, x}};
#else
  return Vec{{x, x, x, x}};
#endif
}
FW_INLINE Vec broadcast_bits(std::uint32_t bits) noexcept {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return broadcast(x);
}
FW_INLINE Vec operator+(Vec a, Vec b) noexcept { FW_BY_LANE(Vec, a.raw + b.raw, a.raw[lane] + b.raw[lane]); }
FW_INLINE Vec operator-(Vec a, Vec b) noexcept { FW_BY_LANE(Vec, a.raw - b.raw, a.raw[lane] - b.raw[lane]); }
FW_INLINE Vec operator*(Vec a, Vec b) noexcept { FW_BY_LANE(Vec, a.raw * b.raw, a.raw[lane] * b.raw[lane]); }
FW_INLINE Vec operator/(Vec a, Vec b) noexcept { FW_BY_LANE(Vec, a.raw / b.raw, a.raw[lane] / b.raw[lane]); }
FW_INLINE Vec operator-(Vec a) noexcept { FW_BY_LANE(Vec, -a.raw, -a.raw[lane]); }
FW_INLINE Vec fma(Vec a, Vec b, Vec c) noexcept { return a * b + c; }

FW_INLINE Mask operator<(Vec a, Vec b) noexcept {
  FW_BY_LANE(Mask, a.raw < b.raw, a.raw[lane] < b.raw[lane] ? -1 : 0);
}
FW_INLINE Mask operator==(Vec a, Vec b) noexcept {
  FW_BY_LANE(Mask, a.raw == b.raw, a.raw[lane] == b.raw[lane] ? -1 : 0);
}
FW_INLINE Vec select(Mask mask, Vec a, Vec b) noexcept {
  FW_BY_LANE(Vec, mask.raw != 0 ? a.raw : b.raw, mask.raw[lane] != 0 ? a.raw[lane] : b.raw[lane]);
}

FW_INLINE Vec min(Vec a, Vec b) noexcept { return select(a < b, a, b); }
FW_INLINE Vec max(Vec a, Vec b) noexcept { return select(b < a, a, b); }
FW_INLINE Vec sqrt(Vec a) noexcept {
  FW_LANES a.raw[lane] = std::sqrt(a.raw[lane]);
  return a;
}
FW_INLINE Vec abs(Vec a) noexcept { return select(a < broadcast(0.0f), -a, a + broadcast(0.0f)); }
FW_INLINE Vec round(Vec a) noexcept {
  // Numbers from 2^23 on are integers; below, adding and taking away leaves no place for a fraction.
  const Vec big = select(a < broadcast(0.0f), broadcast(-8388608.0f), broadcast(8388608.0f));
  return select(abs(a) < broadcast(8388608.0f), (a + big) - big, a);
}
FW_INLINE Vec times_power_of_two(Vec a, Vec n) noexcept {
  FW_LANES {
    const std::uint32_t bits = (static_cast<std::uint32_t>(static_cast<std::int32_t>(n.raw[lane])) + 127u) << 23;
    float power;
    std::memcpy(&power, &bits, sizeof power);
    a.raw[lane] *= power;
  }
  return a;
}

FW_INLINE Vec shift_lanes(Vec v, int shift, std::uint32_t bits, Vec other) noexcept {
  float from[4];
  store_any(from, v);
  FW_LANES if (((bits >> lane) & 1u) != 0) other.raw[lane] = from[lane + shift];
  return other;
}
FW_INLINE Vec in_register(Vec v) noexcept { return v; }
FW_INLINE float sum(Vec v) noexcept { return (v.raw[0] + v.raw[2]) + (v.raw[1] + v.raw[3]); }
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
