#include "base/cpu_features.h"

#include <cstddef>
#include <cstring>

#include "check.h"

using featherweight::CpuFeatures;
using featherweight::kCpuFeatureNames;

namespace {

void every_flag_has_a_row() {
  CHECK(sizeof(CpuFeatures) == sizeof(kCpuFeatureNames) / sizeof(kCpuFeatureNames[0]));
  for (const auto& row : kCpuFeatureNames)
    for (const auto& other : kCpuFeatureNames)
      CHECK(&row == &other || (std::strcmp(row.name, other.name) != 0 && row.flag != other.flag));
}

// GCC's and Clang's own detection is an independent implementation of the same question.
void agrees_with_the_compiler() {
  const CpuFeatures f = featherweight::detect_cpu_features();
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  CHECK(f.sse42 == (__builtin_cpu_supports("sse4.2") != 0));
  CHECK(f.avx2 == (__builtin_cpu_supports("avx2") != 0));
  CHECK(f.fma == (__builtin_cpu_supports("fma") != 0));
  CHECK(f.avx512f == (__builtin_cpu_supports("avx512f") != 0));
  CHECK(f.avx512bw == (__builtin_cpu_supports("avx512bw") != 0));
  CHECK(f.avx512vl == (__builtin_cpu_supports("avx512vl") != 0));
  CHECK(f.avx512dq == (__builtin_cpu_supports("avx512dq") != 0));
  CHECK(f.avx512_vnni == (__builtin_cpu_supports("avx512vnni") != 0));
  CHECK(f.avx512_bf16 == (__builtin_cpu_supports("avx512bf16") != 0));
  CHECK(!f.neon && !f.dotprod);
#elif defined(__aarch64__)
  CHECK(f.neon && !f.sse42 && !f.avx2);
#else
  (void)f;
#endif
}

}  // namespace

int main() {
  every_flag_has_a_row();
  agrees_with_the_compiler();
  return featherweight::test::finish();
}
