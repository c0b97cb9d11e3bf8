#include "kernels/table.h"

#include <cstring>

#include "base/cpu_features.h"

namespace featherweight {

namespace portable {
extern const Kernels kKernels;
}
#if defined(FEATHERWEIGHT_X86_KERNELS)
namespace avx2 {
extern const Kernels kKernels;
}
namespace avx512 {
extern const Kernels kKernels;
}
#endif
#if defined(FEATHERWEIGHT_NEON_KERNELS)
namespace neon {
extern const Kernels kKernels;
}
#endif

namespace {

// From the slowest to the fastest.
constexpr Isa kIsas[] = {Isa::kPortable, Isa::kNeon, Isa::kAvx2, Isa::kAvx512};

}  // namespace

const Kernels* kernels_of(Isa isa) noexcept {
  static const CpuFeatures cpu = detect_cpu_features();
  (void)cpu;
  switch (isa) {
    case Isa::kPortable:
      return &portable::kKernels;
#if defined(FEATHERWEIGHT_X86_KERNELS)
    case Isa::kAvx2:
      return cpu.avx2 && cpu.fma ? &avx2::kKernels : nullptr;
    case Isa::kAvx512:
      return cpu.avx2 && cpu.fma && cpu.avx512f && cpu.avx512bw && cpu.avx512vl && cpu.avx512dq ? &avx512::kKernels
                                                                                               : nullptr;
#endif
#if defined(FEATHERWEIGHT_NEON_KERNELS)
    case Isa::kNeon:
      return cpu.neon ? &neon::kKernels : nullptr;
#endif
    default:
      return nullptr;
  }
}

const Kernels* kernels_named(const char* name) noexcept {
  for (Isa isa : kIsas) {
    const Kernels* kernels = kernels_of(isa);
    if (kernels != nullptr && std::strcmp(kernels->name, name) == 0) return kernels;
  }
  return nullptr;
}

const Kernels& best_kernels() noexcept {
  const Kernels* best = nullptr;
  for (Isa isa : kIsas)
    if (const Kernels* kernels = kernels_of(isa)) best = kernels;
  return *best;
}

}  // namespace featherweight
