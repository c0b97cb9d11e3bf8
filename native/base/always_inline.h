// Inlined at every level of optimisation.
//
// Small functions that files of several instruction sets share must leave no copy of their own: of the copies that
// files emit the linker keeps one, which may be the one made of AVX-512.
#pragma once

#if defined(_MSC_VER)
#define FW_INLINE __forceinline
#define FW_NO_INLINE __declspec(noinline)
#else
#define FW_INLINE inline __attribute__((always_inline))
#define FW_NO_INLINE __attribute__((noinline))
#endif
