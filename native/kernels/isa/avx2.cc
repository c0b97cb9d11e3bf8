// AVX2 and FMA: native/CMakeLists.txt has the flags of this file.
#define FW_ISA avx2
#define FW_ISA_AVX2 1
#define FW_ISA_TAG Isa::kAvx2
#define FW_ISA_NAME "avx2"
#include "kernels/isa/compile.inl"
