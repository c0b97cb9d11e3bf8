// AVX-512 F, BW, VL, DQ: native/CMakeLists.txt has the flags of this file.
#if defined(__GNUC__) && !defined(__clang__)
// GCC 12 takes the deliberately undefined source of its own intrinsics for a mistake of their callers.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#define FW_ISA avx512
#define FW_ISA_AVX512 1
#define FW_ISA_TAG Isa::kAvx512
#define FW_ISA_NAME "avx512"
#include "kernels/isa/compile.inl"
