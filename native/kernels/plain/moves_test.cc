// concat, slice, pad, transpose, depth_to_space, and the broadcasting of binary.
#include <cstdint>

#include "kernels/plain/testing.h"

using namespace featherweight;
using test::between;
using test::count;
using test::Floats;

namespace {

plain::Finish random_finish(test::Random& random) {
  plain::Finish finish;
  if (between(random, 0, 1) == 1) finish = {{ActivationKind::kRelu}, best_kernels().unary};
  return finish;
}

void binary() {
  test::Random random(1);
  for (int round = 0; round < 300; ++round) {
    plain::Binary work;
    work.kind = static_cast<BinaryKind>(round % 4);
    work.out_shape = test::random_shape(random, between(random, 0, plain::kMaxRank), 4);
    if (round % 10 == 0) work.out_shape = {2, {between(random, 30, 60), between(random, 200, 300)}};
    for (plain::Shape* shape : {&work.a_shape, &work.b_shape}) {
      // Without some of the first axes, and of size 1 along some others.
      const int missing = between(random, 0, 2) == 0 ? between(random, 0, work.out_shape.rank) : 0;
      shape->rank = work.out_shape.rank - missing;
      for (int axis = 0; axis < shape->rank; ++axis)
        shape->dims[axis] = between(random, 0, 2) == 0 ? 1 : work.out_shape.dims[axis + missing];
    }
    Floats a = test::random_floats(random, count(work.a_shape)), b = test::random_floats(random, count(work.b_shape));
    work.a = a.data();
    work.b = b.data();
    work.finish = random_finish(random);
    test::compare(random, work, plain::binary, count(work.out_shape), [](const auto& w) { plain::naive::binary(w); });
  }
}

void affine() {
  test::Random random(2);
  for (int round = 0; round < 50; ++round) {
    plain::Affine work;
    work.batch = between(random, 1, 3);
    work.channels = between(random, 1, 5);
    work.inner = between(random, 1, 40);
    const auto size = static_cast<std::size_t>(work.batch * work.channels * work.inner);
    const Floats in = test::random_floats(random, size), scale = test::random_floats(random, 5),
                 shift = test::random_floats(random, 5);
    work.in = in.data();
    if (round % 3 != 0) work.scale = scale.data();
    if (round % 4 != 0) work.shift = shift.data();
    work.finish = random_finish(random);
    test::compare(random, work, plain::affine, size, [&](const plain::Affine& w) {
      for (std::size_t i = 0; i < size; ++i) {
        const std::int64_t c = static_cast<std::int64_t>(i) / w.inner % w.channels;
        const double scaled = w.in[i] * (w.scale != nullptr ? double{w.scale[c]} : 1.0);
        w.out[i] = plain::naive::act(w.finish, scaled + (w.shift != nullptr ? double{w.shift[c]} : 0.0));
      }
    });
  }
}

void concat() {
  test::Random random(3);
  for (int round = 0; round < 100; ++round) {
    plain::Concat work;
    work.out_shape = test::random_shape(random, between(random, 1, 5));
    work.axis = between(random, 0, work.out_shape.rank - 1);
    const std::int64_t whole = work.out_shape.dims[work.axis];
    work.size = between(random, 0, static_cast<int>(whole));
    work.first = between(random, 0, static_cast<int>(whole - work.size));
    plain::Shape in_shape = work.out_shape;
    in_shape.dims[work.axis] = work.size;
    const Floats in = test::random_floats(random, count(in_shape));
    work.in = in.data();
    test::compare(random, work, plain::concat, count(work.out_shape), [&](const plain::Concat& w) {
      plain::naive::for_each_index(in_shape, [&](std::int64_t position, plain::naive::Index index) {
        index[static_cast<std::size_t>(w.axis)] += w.first;
        w.out[plain::naive::position_of(w.out_shape, index)] = w.in[position];
      });
    });
  }
}

void slice_axes() {
  const auto is = [](plain::SliceAxis axis, std::int64_t start, std::int64_t step, std::int64_t size) {
    return axis.count == size && (size == 0 || (axis.start == start && axis.step == step));
  };
  CHECK(is(plain::slice_axis(10, 2, 8, 1), 2, 1, 6));
  CHECK(is(plain::slice_axis(10, 2, 8, 4), 2, 4, 2));
  CHECK(is(plain::slice_axis(10, -3, INT64_MAX, 1), 7, 1, 3));
  CHECK(is(plain::slice_axis(10, -99, 99, 3), 0, 3, 4));
  CHECK(is(plain::slice_axis(10, -1, INT64_MIN, -1), 9, -1, 10));
  CHECK(is(plain::slice_axis(10, 99, -99, -4), 9, -4, 3));
  CHECK(is(plain::slice_axis(10, 5, 5, 1), 0, 1, 0));
  CHECK(is(plain::slice_axis(10, 5, 8, -1), 0, 1, 0));
  CHECK(is(plain::slice_axis(10, 5, 2, INT64_MIN), 5, INT64_MIN, 1));
  CHECK(is(plain::slice_axis(0, 0, INT64_MAX, 1), 0, 1, 0));
  CHECK(is(plain::slice_axis(0, -1, INT64_MIN, -1), 0, 1, 0));
}

void slice() {
  test::Random random(4);
  for (int round = 0; round < 300; ++round) {
    plain::Slice work;
    work.in_shape = test::random_shape(random, between(random, 1, 5), round % 5 == 0 ? 20 : 6);
    plain::Shape out_shape = work.in_shape;
    for (int axis = 0; axis < out_shape.rank; ++axis) {
      const int size = static_cast<int>(out_shape.dims[axis]);
      const std::int64_t step = between(random, 0, 1) == 1 ? between(random, 1, 3) : -between(random, 1, 3);
      const std::int64_t start = between(random, -size, size), end = between(random, -size - 2, size + 2);
      work.axes[axis] = plain::slice_axis(size, start, end, step);
      if (between(random, 0, 1) == 1) work.axes[axis] = {0, 1, size};
      out_shape.dims[axis] = work.axes[axis].count;
    }
    const Floats in = test::random_floats(random, count(work.in_shape));
    work.in = in.data();
    test::compare(random, work, plain::slice, count(out_shape),
                  [&](const plain::Slice& w) { plain::naive::slice(w, out_shape); });
  }
}

void transpose() {
  test::Random random(5);
  for (int round = 0; round < 300; ++round) {
    plain::Transpose work;
    work.in_shape = test::random_shape(random, between(random, 0, 5), round % 3 == 0 ? 20 : 5);
    for (int axis = 0; axis < work.in_shape.rank; ++axis) work.permutation[axis] = axis;
    std::shuffle(work.permutation, work.permutation + work.in_shape.rank, random);
    plain::Shape out_shape = work.in_shape;
    for (int axis = 0; axis < out_shape.rank; ++axis) out_shape.dims[axis] = work.in_shape.dims[work.permutation[axis]];
    const Floats in = test::random_floats(random, count(work.in_shape));
    work.in = in.data();
    test::compare(random, work, plain::transpose, count(out_shape),
                  [&](const plain::Transpose& w) { plain::naive::transpose(w, out_shape); });
  }
}

void pad() {
  test::Random random(6);
  for (int round = 0; round < 300; ++round) {
    plain::Pad work;
    work.mode = static_cast<plain::PadMode>(round % 3);
    work.value = 0.5f;
    work.in_shape = work.out_shape = test::random_shape(random, between(random, 1, 5), 4);
    for (int axis = 0; axis < work.in_shape.rank; ++axis) {
      // Negative pads cut off; what they leave may be nothing.
      const int before = between(random, -2, 5), after = between(random, -2, 5);
      work.before[axis] = before;
      work.out_shape.dims[axis] = std::max<std::int64_t>(0, work.in_shape.dims[axis] + before + after);
    }
    const Floats in = test::random_floats(random, count(work.in_shape));
    work.in = in.data();
    test::compare(random, work, plain::pad, count(work.out_shape), [](const auto& w) { plain::naive::pad(w); });
  }
}

void depth_to_space() {
  test::Random random(7);
  for (int round = 0; round < 60; ++round) {
    plain::DepthToSpace work;
    work.mode = static_cast<plain::DepthToSpaceMode>(round % 2);
    work.block = between(random, 1, 3);
    work.in_shape = test::random_shape(random, 4, 5);
    work.in_shape.dims[1] *= work.block * work.block;
    const Floats in = test::random_floats(random, count(work.in_shape));
    work.in = in.data();
    test::compare(random, work, plain::depth_to_space, count(work.in_shape),
                  [](const auto& w) { plain::naive::depth_to_space(w); });
  }
}

}  // namespace

int main() {
  binary();
  affine();
  concat();
  slice_axes();
  slice();
  transpose();
  pad();
  depth_to_space();
  return test::finish();
}
