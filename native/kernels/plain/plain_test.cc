// The plain operations that calculate: resize, reductions, products, convolutions, pooling, casts.
#include <cstdint>
#include <limits>

#include "kernels/plain/testing.h"
#include "kernels/pool/naive.h"

using namespace featherweight;
using test::between;
using test::count;
using test::Floats;

namespace {

plain::ResizeAxis random_axis(test::Random& random) {
  const float scales[] = {0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 0.3f};
  plain::ResizeAxis axis;
  axis.in = between(random, 1, 9);
  axis.scale = scales[between(random, 0, 5)];
  axis.out = std::max<std::int64_t>(1, static_cast<std::int64_t>(static_cast<float>(axis.in) * axis.scale));
  return axis;
}

void resize() {
  test::Random random(1);
  for (int round = 0; round < 600; ++round) {
    plain::Resize work;
    work.mode = static_cast<plain::ResizeMode>(round % 2);
    work.coordinates = static_cast<plain::Coordinates>(between(random, 0, 3));
    work.rounding = static_cast<plain::Rounding>(between(random, 0, 3));
    work.planes = between(random, 1, 3);
    work.height = random_axis(random);
    work.width = random_axis(random);
    if (round % 50 == 0) work.width = {100, 300, 3.0f};  // more columns than are done at once
    const Floats in =
        test::random_floats(random, static_cast<std::size_t>(work.planes * work.height.in * work.width.in));
    work.in = in.data();
    test::compare(random, work, plain::resize,
                  static_cast<std::size_t>(work.planes * work.height.out * work.width.out),
                  [](const auto& w) { plain::naive::resize(w); });
  }
}

void reduce_mean() {
  test::Random random(2);
  for (int round = 0; round < 300; ++round) {
    plain::ReduceMean work;
    work.in_shape = test::random_shape(random, between(random, 0, 5), round % 10 == 0 ? 14 : 5);
    plain::Shape out_shape = work.in_shape;
    for (int axis = 0; axis < out_shape.rank; ++axis) {
      work.reduced[axis] = between(random, 0, 1) == 1;
      if (work.reduced[axis]) out_shape.dims[axis] = 1;
    }
    const Floats in = test::random_floats(random, count(work.in_shape));
    work.in = in.data();
    test::compare(random, work, plain::reduce_mean, count(out_shape),
                  [](const auto& w) { plain::naive::reduce_mean(w); });
  }
}

void softmax(const Kernels& kernels) {
  test::Random random(3);
  for (int round = 0; round < 60; ++round) {
    plain::Softmax work;
    work.outer = between(random, 1, 6);
    work.size = between(random, 1, 40);
    work.inner = round % 2 == 0 ? 1 : between(random, 1, 150);
    work.unary = kernels.unary;
    work.log = round % 3 == 0;
    const auto size = static_cast<std::size_t>(work.outer * work.size * work.inner);
    Floats in = test::random_floats(random, size);
    for (float& x : in) x *= 100.0f;
    in[0] = -INFINITY;
    if (work.size == 1) in[0] = 1e30f;
    work.in = in.data();
    test::compare(random, work, plain::softmax, size, [](const auto& w) { plain::naive::softmax(w); });
  }
}

void arg_max() {
  const float in[] = {1, 5, 5, NAN, 2, NAN, -INFINITY, -INFINITY, -INFINITY};
  std::int64_t rows[3], columns[3];
  test::run(plain::arg_max, {3, 3, 1, in, rows}, 2);
  CHECK(rows[0] == 1 && rows[1] == 0 && rows[2] == 0);
  test::run(plain::arg_max, {1, 3, 3, in, columns}, 3);
  CHECK(columns[0] == 1 && columns[1] == 0 && columns[2] == 1);
}

void global_pool() {
  test::Random random(4);
  for (int round = 0; round < 60; ++round) {
    plain::GlobalPool work;
    work.kind = static_cast<PoolKind>(round % 2);
    work.planes = between(random, 1, 7);
    work.inner = between(random, 1, 70);
    const Floats in = test::random_floats(random, static_cast<std::size_t>(work.planes * work.inner));
    work.in = in.data();
    LaneShape shape;
    shape.batch = static_cast<int>(work.planes);
    shape.channels = shape.height = 1;
    shape.width = static_cast<int>(work.inner);
    test::compare(random, work, plain::global_pool, static_cast<std::size_t>(work.planes),
                  [&](const auto& w) { featherweight::naive::global_pool(w.kind, shape, w.in, w.out); });
  }
}

void matmul(const Kernels& kernels) {
  test::Random random(5);
  for (int round = 0; round < 100; ++round) {
    plain::MatMul work;
    plain::Shape out = test::random_shape(random, between(random, 2, 5), 3);
    work.a_shape = work.b_shape = out;
    for (int axis = 0; axis < out.rank - 2; ++axis) {
      if (between(random, 0, 3) == 0) work.a_shape.dims[axis] = 1;
      if (between(random, 0, 3) == 0) work.b_shape.dims[axis] = 1;
      out.dims[axis] = std::max(work.a_shape.dims[axis], work.b_shape.dims[axis]);
    }
    // b without its first axes
    const int missing = between(random, 0, out.rank - 2);
    for (int axis = 0; axis < missing; ++axis) out.dims[axis] = work.a_shape.dims[axis];
    plain::Shape b{out.rank - missing, {}};
    std::copy(work.b_shape.dims + missing, work.b_shape.dims + out.rank, b.dims);
    work.b_shape = b;
    const std::int64_t rows = between(random, 2, 20), depth = between(random, 2, 20), columns = between(random, 2, 40);
    work.a_shape.dims[work.a_shape.rank - 2] = out.dims[out.rank - 2] = rows;
    work.a_shape.dims[work.a_shape.rank - 1] = work.b_shape.dims[work.b_shape.rank - 2] = depth;
    work.b_shape.dims[work.b_shape.rank - 1] = out.dims[out.rank - 1] = columns;
    const Floats left = test::random_floats(random, count(work.a_shape));
    const Floats right = test::random_floats(random, count(work.b_shape));
    work.a = left.data();
    work.b = right.data();
    work.kernel = kernels.matmul;
    test::compare(random, work, plain::matmul, count(out), [&](const auto& w) { plain::naive::matmul(w, out); });
  }
}

void matmul_of_vectors(const Kernels& kernels) {
  const float a[] = {1, 2, 3}, b[] = {1, 2, 3, 4, 5, 6};
  float out[4] = {7, 7, 7, 7};
  test::run(plain::matmul, {a, b, {1, {3}}, {2, {3, 2}}, out, kernels.matmul});
  CHECK(out[0] == 22 && out[1] == 28 && out[2] == 7);
  test::run(plain::matmul, {b, a, {2, {2, 3}}, {1, {3}}, out, kernels.matmul});
  CHECK(out[0] == 14 && out[1] == 32 && out[2] == 7);
  test::run(plain::matmul, {a, a, {1, {3}}, {1, {3}}, out, kernels.matmul});
  CHECK(out[0] == 14 && out[1] == 32);
}

ConvShape random_window(test::Random& random) {
  ConvShape c;
  c.kernel_h = between(random, 1, 4);
  c.kernel_w = between(random, 1, 4);
  c.stride_h = between(random, 1, 3);
  c.stride_w = between(random, 1, 3);
  c.dilation_h = between(random, 1, 2);
  c.dilation_w = between(random, 1, 2);
  c.pad_top = between(random, 0, 4);
  c.pad_left = between(random, 0, 4);
  return c;
}

std::size_t pixels(std::int64_t batch, const plain::Picture& p) {
  return static_cast<std::size_t>(batch * p.channels * p.height * p.width);
}

std::int64_t span(int kernel, int dilation) { return std::int64_t{kernel - 1} * dilation + 1; }

// A convolution from wide to narrow; a transposed one goes the other way.
struct Sizes {
  ConvShape conv;
  std::int64_t batch;
  plain::Picture wide, narrow;
};

Sizes random_sizes(test::Random& random) {
  Sizes s;
  s.conv = random_window(random);
  s.conv.groups = between(random, 1, 3);
  s.batch = between(random, 1, 2);
  s.wide.channels = std::int64_t{s.conv.groups} * between(random, 1, 4);
  s.narrow.channels = std::int64_t{s.conv.groups} * between(random, 1, 4);
  s.wide.height = between(random, 1, 15);
  s.wide.width = between(random, 1, 15);
  const auto outputs = [&](std::int64_t size, int pad, int kernel, int dilation, int stride) {
    return std::max<std::int64_t>(0, size + pad + between(random, 0, 3) - span(kernel, dilation)) / stride + 1;
  };
  s.narrow.height = outputs(s.wide.height, s.conv.pad_top, s.conv.kernel_h, s.conv.dilation_h, s.conv.stride_h);
  s.narrow.width = outputs(s.wide.width, s.conv.pad_left, s.conv.kernel_w, s.conv.dilation_w, s.conv.stride_w);
  return s;
}

plain::Finish random_finish(test::Random& random, const Kernels& kernels) {
  plain::Finish finish;
  if (between(random, 0, 1) == 1) finish = {{ActivationKind::kClip, -0.5f, 1.0f}, kernels.unary};
  return finish;
}

std::size_t taps(const Sizes& s) {
  return static_cast<std::size_t>(s.wide.channels * s.narrow.channels / s.conv.groups * s.conv.kernel_h *
                                  s.conv.kernel_w);
}

void conv() {
  test::Random random(6);
  for (int round = 0; round < 200; ++round) {
    const Sizes s = random_sizes(random);
    plain::Conv work;
    work.conv = s.conv;
    work.batch = s.batch;
    work.in_size = s.wide;
    work.out_size = s.narrow;
    const Floats in = test::random_floats(random, pixels(s.batch, s.wide));
    const Floats weight = test::random_floats(random, taps(s)), bias = test::random_floats(random, 12);
    const Floats residual = test::random_floats(random, pixels(s.batch, s.narrow));
    work.in = in.data();
    work.weight = weight.data();
    if (round % 2 == 0) work.bias = bias.data();
    if (round % 3 == 0) work.residual = residual.data();
    work.finish = random_finish(random, best_kernels());
    test::compare(random, work, plain::conv, pixels(s.batch, s.narrow), [](const auto& w) { plain::naive::conv(w); });
  }
}

void conv_transpose(const Kernels& kernels) {
  test::Random random(7);
  for (int round = 0; round < 200; ++round) {
    Sizes s = random_sizes(random);
    if (round % 20 == 0) s.narrow.height = s.narrow.width = 15;  // more pixels than are done at once
    if (round % 25 == 0) s.conv.kernel_h = 70;                   // more taps than are done at once
    plain::ConvTranspose work;
    work.conv = s.conv;
    work.batch = s.batch;
    work.in_size = s.narrow;
    work.out_size = s.wide;
    const Floats in = test::random_floats(random, pixels(s.batch, s.narrow));
    const Floats weight = test::random_floats(random, taps(s)), bias = test::random_floats(random, 12);
    work.in = in.data();
    const int rows = static_cast<int>(s.narrow.channels);
    const plain::PackedConvTranspose packed =
        plain::pack_conv_transpose({weight.data(), rows, static_cast<int>(weight.size()) / rows}, s.conv.groups);
    work.packed = &packed;
    if (round % 2 == 0) work.bias = bias.data();
    work.kernel = kernels.matmul;
    work.finish = random_finish(random, kernels);
    test::compare(random, work, plain::conv_transpose, pixels(s.batch, s.wide),
                  [&](const auto& w) { plain::naive::conv_transpose(w, weight.data()); });
  }
}

void pool() {
  test::Random random(8);
  for (int round = 0; round < 300; ++round) {
    Sizes s = random_sizes(random);
    s.narrow.channels = s.wide.channels;
    plain::Pool work;
    work.kind = static_cast<PoolKind>(round % 2);
    work.window = s.conv;
    if (work.kind == PoolKind::kAverage) work.window.dilation_h = work.window.dilation_w = 1;
    work.count_pads = between(random, 0, 1) == 1;
    work.pad_bottom = between(random, 0, 3);
    work.pad_right = between(random, 0, 3);
    work.batch = s.batch;
    work.in_size = s.wide;
    work.out_size = s.narrow;
    const Floats in = test::random_floats(random, pixels(s.batch, s.wide));
    work.in = in.data();
    test::compare(random, work, plain::pool, pixels(s.batch, s.narrow), [&](const plain::Pool& w) {
      LaneShape from, to;
      from.batch = to.batch = static_cast<int>(s.batch);
      from.channels = to.channels = static_cast<int>(s.wide.channels);
      from.height = static_cast<int>(s.wide.height);
      from.width = static_cast<int>(s.wide.width);
      to.height = static_cast<int>(s.narrow.height);
      to.width = static_cast<int>(s.narrow.width);
      featherweight::Pool lanes;
      lanes.kind = w.kind;
      lanes.window = w.window;
      lanes.count_pads = w.count_pads;
      lanes.pad_bottom = static_cast<int>(w.pad_bottom);
      lanes.pad_right = static_cast<int>(w.pad_right);
      lanes.in.shape = &from;
      lanes.out.shape = &to;
      featherweight::naive::pool(lanes, w.in, w.out);
    });
  }
}

template <class Out, class In>
bool casts(plain::ElementType in_type, std::vector<In> in, plain::ElementType out_type, std::vector<Out> expected) {
  std::vector<Out> out(expected.size());
  test::run(plain::cast, {in.data(), in_type, out.data(), out_type, static_cast<std::int64_t>(in.size())}, 2);
  return out == expected;
}

void cast() {
  using Type = plain::ElementType;
  const float large = 1e30f;
  CHECK((casts<std::int64_t, float>(Type::kFloat32, {1.9f, -1.9f, NAN, large}, Type::kInt64, {1, -1, 0, INT64_MAX})));
  CHECK((casts<std::int32_t, float>(Type::kFloat32, {2.5f, -large}, Type::kInt32, {2, INT32_MIN})));
  CHECK((casts<std::uint8_t, float>(Type::kFloat32, {-3.0f, 255.5f, 12.0f}, Type::kUint8, {0, 255, 12})));
  CHECK((casts<std::uint8_t, float>(Type::kFloat32, {0.0f, -0.5f, NAN}, Type::kBool, {0, 1, 1})));
  CHECK((casts<float, std::int64_t>(Type::kInt64, {3, -4}, Type::kFloat32, {3.0f, -4.0f})));
  CHECK((casts<float, std::uint8_t>(Type::kBool, {0, 2, 255}, Type::kFloat32, {0.0f, 1.0f, 1.0f})));
  CHECK((casts<std::int64_t, std::int64_t>(Type::kInt64, {INT64_MAX - 1}, Type::kInt64, {INT64_MAX - 1})));
}

}  // namespace

int main() {
  resize();
  reduce_mean();
  test::for_each_isa(softmax);
  arg_max();
  global_pool();
  test::for_each_isa(matmul);
  test::for_each_isa(matmul_of_vectors);
  conv();
  test::for_each_isa(conv_transpose);
  pool();
  cast();
  return test::finish();
}
