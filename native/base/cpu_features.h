// What the processor, and the operating system that saves its registers, can do.
#pragma once

namespace featherweight {

// Every flag means "may be executed": for the wide x86 extensions the operating system must also save the
// registers (XCR0), which is checked. A flag of another architecture is false.
struct CpuFeatures {
  bool sse42 = false;
  bool avx2 = false;
  bool fma = false;
  bool avx512f = false;
  bool avx512bw = false;
  bool avx512vl = false;
  bool avx512dq = false;
  bool avx512_vnni = false;
  bool avx512_bf16 = false;
  bool amx_tile = false;
  bool amx_int8 = false;
  bool amx_bf16 = false;
  bool neon = false;
  bool dotprod = false;
};

// One row of the table of flags: the name that Python sees, and the member.
struct CpuFeatureName {
  const char* name;
  bool CpuFeatures::*flag;
};

inline constexpr CpuFeatureName kCpuFeatureNames[] = {
    {"sse4.2", &CpuFeatures::sse42},           {"avx2", &CpuFeatures::avx2},
    {"fma", &CpuFeatures::fma},                {"avx512f", &CpuFeatures::avx512f},
    {"avx512bw", &CpuFeatures::avx512bw},      {"avx512vl", &CpuFeatures::avx512vl},
    {"avx512dq", &CpuFeatures::avx512dq},      {"avx512_vnni", &CpuFeatures::avx512_vnni},
    {"avx512_bf16", &CpuFeatures::avx512_bf16}, {"amx_tile", &CpuFeatures::amx_tile},
    {"amx_int8", &CpuFeatures::amx_int8},      {"amx_bf16", &CpuFeatures::amx_bf16},
    {"neon", &CpuFeatures::neon},              {"dotprod", &CpuFeatures::dotprod},
};

// Detected afresh at each call; cheap, never fails.
CpuFeatures detect_cpu_features() noexcept;

}  // namespace featherweight
