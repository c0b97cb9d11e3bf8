// The kernels of each instruction set, and which of them this machine runs.
//
// The same templates are compiled once for each set (isa/*.cc); nothing outside of those files uses its
// instructions, so that the library runs anywhere.
#pragma once

#include "kernels/operations.h"

namespace featherweight {

enum class Isa { kPortable, kAvx2, kAvx512, kNeon };

struct Kernels {
  Isa isa;
  const char* name;  // "portable", "avx2", "avx512", "neon": what FEATHERWEIGHT_ISA says
  int lanes;
#define FW_KERNEL(name, Arguments) void (*name)(const Arguments&, Part) noexcept;
#include "kernels/kernels.inc"
#undef FW_KERNEL
};

// Null where it is not compiled in, or this processor cannot run it.
const Kernels* kernels_of(Isa isa) noexcept;
const Kernels* kernels_named(const char* name) noexcept;
// The fastest that this processor can run.
const Kernels& best_kernels() noexcept;

}  // namespace featherweight
