// All kernels for one instruction set, and their table. Included by isa/*.cc, which say which set it is.
//
// What is compiled here must not leave this file but by the table: a function that the linker merges with another
// file's copy could bring this set's instructions to a processor that has none. So everything is in the namespace
// FW_ISA, what headers share is FW_INLINE, and no template of the standard library that makes code is used.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "kernels/part.h"
#include "kernels/table.h"
#include "kernels/vec.h"

#include "kernels/layout/layout.inl"

#include "kernels/conv/dense.inl"
#include "kernels/conv/depthwise.inl"
#include "kernels/conv/sparse.inl"
#include "kernels/elementwise/elementwise.inl"
#include "kernels/normalize/normalize.inl"
#include "kernels/pool/pool.inl"
#include "kernels/linear/dense.inl"
#include "kernels/linear/sparse.inl"

namespace featherweight::FW_ISA {

extern const Kernels kKernels;
const Kernels kKernels = {
    FW_ISA_TAG,
    FW_ISA_NAME,
    Vec::kLanes,
#define FW_KERNEL(name, Arguments) &name,
#include "kernels/kernels.inc"
#undef FW_KERNEL
};

}  // namespace featherweight::FW_ISA
