#include "base/cpu_features.h"

#include <cstdint>

#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64) || defined(_M_IX86)
#define FEATHERWEIGHT_X86 1
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace featherweight {

#if defined(FEATHERWEIGHT_X86)
namespace {

struct Registers {
  std::uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(std::uint32_t leaf, std::uint32_t subleaf) noexcept {
  Registers r;
#if defined(_MSC_VER)
  int out[4];
  __cpuidex(out, static_cast<int>(leaf), static_cast<int>(subleaf));
  r.eax = static_cast<std::uint32_t>(out[0]);
  r.ebx = static_cast<std::uint32_t>(out[1]);
  r.ecx = static_cast<std::uint32_t>(out[2]);
  r.edx = static_cast<std::uint32_t>(out[3]);
#else
  __cpuid_count(leaf, subleaf, r.eax, r.ebx, r.ecx, r.edx);
#endif
  return r;
}

// Which register states the operating system saves. Only to be called where CPUID says OSXSAVE.
std::uint64_t xcr0() noexcept {
#if defined(_MSC_VER)
  return _xgetbv(0);
#else
  std::uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32) | low;
#endif
}

constexpr bool bit(std::uint32_t word, int index) noexcept { return ((word >> index) & 1u) != 0; }

constexpr std::uint64_t kYmmState = 0x6;       // XMM, YMM
constexpr std::uint64_t kZmmState = 0xe6;      // and opmask, upper halves of ZMM0-15, ZMM16-31
constexpr std::uint64_t kTileState = 0x60000;  // TILECFG, TILEDATA

}  // namespace

CpuFeatures detect_cpu_features() noexcept {
  CpuFeatures f;
  const std::uint32_t last_leaf = cpuid(0, 0).eax;
  if (last_leaf < 1) return f;
  const Registers one = cpuid(1, 0);
  f.sse42 = bit(one.ecx, 20);
  const std::uint64_t saved = bit(one.ecx, 27) ? xcr0() : 0;
  const bool ymm = (saved & kYmmState) == kYmmState && bit(one.ecx, 28);
  f.fma = ymm && bit(one.ecx, 12);
  if (last_leaf < 7) return f;
  const Registers seven = cpuid(7, 0);
  const Registers seven_one = seven.eax >= 1 ? cpuid(7, 1) : Registers{};
  const bool zmm = ymm && (saved & kZmmState) == kZmmState && bit(seven.ebx, 16);
  const bool tile = (saved & kTileState) == kTileState;
  f.avx2 = ymm && bit(seven.ebx, 5);
  f.avx512f = zmm;
  f.avx512dq = zmm && bit(seven.ebx, 17);
  f.avx512bw = zmm && bit(seven.ebx, 30);
  f.avx512vl = zmm && bit(seven.ebx, 31);
  f.avx512_vnni = zmm && bit(seven.ecx, 11);
  f.avx512_bf16 = zmm && bit(seven_one.eax, 5);
  f.amx_bf16 = tile && bit(seven.edx, 22);
  f.amx_tile = tile && bit(seven.edx, 24);
  f.amx_int8 = tile && bit(seven.edx, 25);
  return f;
}

#elif defined(__aarch64__) || defined(_M_ARM64)

CpuFeatures detect_cpu_features() noexcept {
  CpuFeatures f;
  f.neon = true;  // part of the base architecture
#if defined(__linux__)
  f.dotprod = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#elif defined(__ARM_FEATURE_DOTPROD)
  f.dotprod = true;
#endif
  return f;
}

#else

CpuFeatures detect_cpu_features() noexcept { return CpuFeatures{}; }

#endif

}  // namespace featherweight
