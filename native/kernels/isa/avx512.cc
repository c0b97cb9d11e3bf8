// AVX-512 F, BW, VL, DQ: native/CMakeLists.txt has the flags of this file.
#define FW_ISA avx512
#define FW_ISA_AVX512 1
#define FW_ISA_TAG Isa::kAvx512
#define FW_ISA_NAME "avx512"
#include "kernels/isa/compile.inl"
