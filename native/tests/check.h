// The least a test needs: CHECK prints the expression that failed and remembers it.
#pragma once

#include <cstdio>

namespace featherweight::test {

inline int failures = 0;

inline void check(bool ok, const char* expression, const char* file, int line) {
  if (ok) return;
  ++failures;
  std::fprintf(stderr, "%s:%d: failed: %s\n", file, line, expression);
}

inline int finish() {
  if (failures != 0) std::fprintf(stderr, "%d checks failed\n", failures);
  return failures == 0 ? 0 : 1;
}

}  // namespace featherweight::test

#define CHECK(expression) ::featherweight::test::check((expression), #expression, __FILE__, __LINE__)
