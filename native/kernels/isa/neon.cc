// AArch64.
#define FW_ISA neon
#define FW_ISA_NEON 1
#define FW_ISA_TAG Isa::kNeon
#define FW_ISA_NAME "neon"
#include "kernels/isa/compile.inl"
