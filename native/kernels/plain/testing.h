// What the tests of plain operations share.
#pragma once

#include <cmath>
#include <cstdio>

#include "kernels/plain/naive.h"
#include "kernels/testing.h"

namespace featherweight::test {

inline std::size_t count(const plain::Shape& shape) { return static_cast<std::size_t>(shape.size()); }

inline plain::Shape random_shape(Random& random, int rank, int most = 6) {
  plain::Shape shape;
  shape.rank = rank;
  for (int axis = 0; axis < rank; ++axis) shape.dims[axis] = between(random, 1, most);
  return shape;
}

inline bool near(const Floats& got, const Floats& expected, float tolerance = 1e-5f) {
  for (std::size_t i = 0; i < expected.size(); ++i)
    if (!(got[i] == expected[i] || std::fabs(got[i] - expected[i]) <= tolerance * (1.0f + std::fabs(expected[i])))) {
      std::fprintf(stderr, "at %zu: %g, expected %g\n", i, double{got[i]}, double{expected[i]});
      return false;
    }
  return got.size() == expected.size();
}

// One operation by its reference, by one part and by several: the first two are near, the others equal. `work.out`
// is set for each.
template <class Work, class Reference>
void compare(Random& random, Work work, void (*operation)(const Work&, Part) noexcept, std::size_t outputs,
             Reference reference) {
  Floats expected(outputs, 7.0f), got(outputs, 7.0f), again(outputs, 7.0f);
  work.out = expected.data();
  reference(work);
  work.out = got.data();
  run(operation, work);
  CHECK(near(got, expected));
  work.out = again.data();
  run(operation, work, between(random, 2, 4));
  CHECK(got == again);
}

}  // namespace featherweight::test
