// For any processor.
#define FW_ISA portable
#define FW_ISA_TAG Isa::kPortable
#define FW_ISA_NAME "portable"
#include "kernels/isa/compile.inl"
