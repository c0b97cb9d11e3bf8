#include <cmath>
#include <limits>

#include "kernels/elementwise/activation_naive.h"
#include "kernels/layout/naive.h"
#include "kernels/testing.h"

using namespace featherweight;
using test::between;
using test::Floats;

namespace {

const Activation kActivations[] = {
    {ActivationKind::kNone},          {ActivationKind::kRelu},
    {ActivationKind::kClip, 0, 6},    {ActivationKind::kClip, -INFINITY, 0.5f},
    {ActivationKind::kClip, 2, 1},    {ActivationKind::kLeakyRelu, 0.1f},
    {ActivationKind::kLeakyRelu, -2}, {ActivationKind::kSigmoid},
    {ActivationKind::kTanh},          {ActivationKind::kHardSigmoid, 0.2f, 0.5f},
    {ActivationKind::kHardSwish},     {ActivationKind::kSilu},
    {ActivationKind::kGelu},          {ActivationKind::kGeluTanh},
    {ActivationKind::kExp},           {ActivationKind::kSqrt},
    {ActivationKind::kAbs},           {ActivationKind::kNeg},
    {ActivationKind::kErf},           {ActivationKind::kElu, 1.5f},
    {ActivationKind::kSoftplus},
};

// Units in the last place that are allowed: the tails of gelu and exp amplify what rounding does to the argument.
double allowed(ActivationKind kind, double x) {
  switch (kind) {
    case ActivationKind::kNone:
    case ActivationKind::kRelu:
    case ActivationKind::kClip:
    case ActivationKind::kLeakyRelu:
    case ActivationKind::kSqrt:
    case ActivationKind::kAbs:
    case ActivationKind::kNeg: return 0.0;
    case ActivationKind::kGelu: return 6.0 + x * x;
    case ActivationKind::kGeluTanh: return 6.0 + 2 * std::fabs(x * x * x);
    default: return 6.0;
  }
}

bool close(const Activation& activation, float x, float got) {
  const float expected = naive::activate(activation, x);
  // Below the normal numbers, results may be 0; a gate, too, which x is multiplied with.
  const double least = 1.2e-38 * std::max(1.0, std::fabs(double{x}));
  const double unit = std::fabs(double{expected}) * 1.2e-7 + (allowed(activation.kind, x) > 0 ? least : 0);
  const bool cancels = activation.kind == ActivationKind::kHardSwish || activation.kind == ActivationKind::kHardSigmoid;
  const double cancelled = cancels ? std::fabs(double{x}) * 1.2e-7 : 0;
  if (std::isnan(expected) ? std::isnan(got) : got == expected) return true;
  if (std::fabs(double{got} - expected) <= allowed(activation.kind, x) * unit + cancelled) return !std::isinf(expected);
  std::fprintf(stderr, "kind %d of %.9g: %.9g, expected %.9g\n", static_cast<int>(activation.kind), double{x},
               double{got}, double{expected});
  return false;
}

Floats grid() {
  Floats values;
  for (float x = -12.0f; x <= 12.0f; x += 0.0037f) values.push_back(x);
  for (float x = -140.0f; x <= 140.0f; x += 0.31f) values.push_back(x);
  for (float size = 1e-38f; size < 1e38f; size *= 1.7f) {
    values.push_back(size);
    values.push_back(-size);
  }
  const float most = std::numeric_limits<float>::max();
  for (float x : {0.0f, -0.0f, most, -most, INFINITY, -INFINITY, NAN, 0.5f, 1.5f}) values.push_back(x);
  for (float x : {88.0f, 88.72f, 88.73f, -87.3f, -87.4f})
    values.push_back(x);
  return values;
}

void activations(const Kernels& kernels) {
  const Floats in = grid();
  for (const Activation& activation : kActivations) {
    Floats out(in.size());
    test::run(kernels.unary, {in.data(), out.data(), static_cast<std::int64_t>(in.size()), activation}, 3);
    for (std::size_t i = 0; i < in.size(); ++i) CHECK(close(activation, in[i], out[i]));
  }
}

void unary_of_every_size(const Kernels& kernels) {
  test::Random random(1);
  for (int size = 0; size < 70; ++size) {
    const Floats in = test::random_floats(random, static_cast<std::size_t>(size));
    Floats out = in;
    test::run(kernels.unary, {out.data(), out.data(), size, {ActivationKind::kNeg}}, between(random, 1, 3));
    for (std::size_t i = 0; i < in.size(); ++i) CHECK(out[i] == -in[i]);
  }
}

LaneShape random_shape(test::Random& random, int lanes) {
  LaneShape s;
  test::random_grid(random, lanes, &s);
  s.batch = between(random, 1, 5);
  s.channels = between(random, 1, 5);
  s.height = between(random, 1, 14);
  s.width = between(random, 1, 14);
  s.tile_n = test::tile_for(s.batch, s.grid_n) + between(random, 0, 1);
  s.tile_h = test::tile_for(s.height, s.grid_h) + between(random, 0, 1);
  s.tile_w = test::tile_for(s.width, s.grid_w) + between(random, 0, 1);
  return s;
}

LaneShape with_halo(test::Random& random, LaneShape s) {
  const int most = between(random, 0, 2);
  s.halo = {between(random, 0, most), between(random, 0, most), between(random, 0, most), between(random, 0, most)};
  return s;
}

// Every pixel of the picture is what `expected(n, c, y, x)` says.
template <class Expected>
void check_pixels(const LaneShape& s, const Floats& got, Expected expected) {
  bool equal = true;
  for (int n = 0; n < s.batch; ++n)
    for (int c = 0; c < s.channels; ++c)
      for (int y = 0; y < s.height; ++y)
        for (int x = 0; x < s.width; ++x) {
          const float a = got[static_cast<std::size_t>(naive::place(s, n, c, y, x))], b = expected(n, c, y, x);
          equal = equal && std::fabs(a - b) <= 1e-5f * (1.0f + std::fabs(b));
        }
  CHECK(equal);
}

// Halos are none of an operation's business.
void check_halo_is_untouched(const LaneShape& s, const Floats& got, float untouched) {
  bool same = true;
  for (int image = 0; image < s.tile_n; ++image)
    for (int c = 0; c < s.channels; ++c)
      for (int row = -s.halo.top; row < s.tile_h + s.halo.bottom; ++row)
        for (int column = -s.halo.left; column < s.tile_w + s.halo.right; ++column) {
          if (row >= 0 && row < s.tile_h && column >= 0 && column < s.tile_w) continue;
          const std::ptrdiff_t at = image * s.image_stride() + c * s.channel_stride() + s.offset(row, column);
          for (int lane = 0; lane < s.lanes; ++lane)
            same = same && got[static_cast<std::size_t>(at + lane)] == untouched;
        }
  CHECK(same);
}

float at(const LaneShape& s, const Floats& map, int n, int c, int y, int x) {
  return map[static_cast<std::size_t>(naive::place(s, n, c, y, x))];
}

// Two inputs and an output of the same picture, each with its own halo.
struct Maps {
  LaneShape a_shape, b_shape, out_shape;
  Floats a, b, out;
  Activation activation;
};

Maps random_maps(test::Random& random, int lanes) {
  const LaneShape s = random_shape(random, lanes);
  Maps m{with_halo(random, s), with_halo(random, s), with_halo(random, s), {}, {}, {}, {}};
  m.a = test::random_floats(random, test::size_of(m.a_shape));
  m.b = test::random_floats(random, test::size_of(m.b_shape));
  m.out = Floats(test::size_of(m.out_shape), 7.0f);
  const Activation activations[] = {
      {}, {ActivationKind::kRelu}, {ActivationKind::kClip, -0.5f, 0.25f}, {ActivationKind::kTanh}};
  m.activation = activations[between(random, 0, 3)];
  return m;
}

void lane_unary(const Kernels& kernels) {
  test::Random random(2);
  for (int round = 0; round < 40; ++round) {
    Maps m = random_maps(random, kernels.lanes);
    test::run(kernels.lane_unary, {{m.a.data(), &m.a_shape}, {m.out.data(), &m.out_shape}, m.activation},
              between(random, 1, 3));
    check_pixels(m.out_shape, m.out, [&](int n, int c, int y, int x) {
      return naive::activate(m.activation, at(m.a_shape, m.a, n, c, y, x));
    });
    check_halo_is_untouched(m.out_shape, m.out, 7.0f);
  }
}

float combine(BinaryKind kind, float a, float b) {
  switch (kind) {
    case BinaryKind::kAdd: return a + b;
    case BinaryKind::kSub: return a - b;
    case BinaryKind::kMul: return a * b;
    case BinaryKind::kDiv: return a / b;
  }
  return 0.0f;
}

void lane_binary(const Kernels& kernels) {
  test::Random random(3);
  for (int round = 0; round < 80; ++round) {
    Maps m = random_maps(random, kernels.lanes);
    const BinaryKind kinds[] = {BinaryKind::kAdd, BinaryKind::kSub, BinaryKind::kMul, BinaryKind::kDiv};
    const BinaryKind kind = kinds[round % 4];
    test::run(kernels.lane_binary,
              {kind, {m.a.data(), &m.a_shape}, {m.b.data(), &m.b_shape}, {m.out.data(), &m.out_shape}, m.activation},
              between(random, 1, 3));
    check_pixels(m.out_shape, m.out, [&](int n, int c, int y, int x) {
      return naive::activate(m.activation,
                             combine(kind, at(m.a_shape, m.a, n, c, y, x), at(m.b_shape, m.b, n, c, y, x)));
    });
    check_halo_is_untouched(m.out_shape, m.out, 7.0f);
  }
}

void lane_affine(const Kernels& kernels) {
  test::Random random(4);
  for (int round = 0; round < 80; ++round) {
    Maps m = random_maps(random, kernels.lanes);
    const bool by_image = between(random, 0, 1) == 1, scaled = between(random, 0, 3) != 0,
               shifted = between(random, 0, 3) != 0;
    const int channels = m.out_shape.channels, constants = channels * (by_image ? m.out_shape.batch : 1);
    const Floats scale = test::random_floats(random, static_cast<std::size_t>(constants));
    const Floats shift = test::random_floats(random, static_cast<std::size_t>(constants));
    test::run(kernels.lane_affine,
              {{m.a.data(), &m.a_shape}, scaled ? scale.data() : nullptr, shifted ? shift.data() : nullptr, by_image,
               {m.out.data(), &m.out_shape}, m.activation},
              between(random, 1, 3));
    check_pixels(m.out_shape, m.out, [&](int n, int c, int y, int x) {
      const auto i = static_cast<std::size_t>(by_image ? n * channels + c : c);
      return naive::activate(m.activation, at(m.a_shape, m.a, n, c, y, x) * (scaled ? scale[i] : 1.0f) +
                                               (shifted ? shift[i] : 0.0f));
    });
    check_halo_is_untouched(m.out_shape, m.out, 7.0f);
  }
}

void lane_copy(const Kernels& kernels) {
  test::Random random(5);
  for (int round = 0; round < 60; ++round) {
    LaneShape from = random_shape(random, kernels.lanes);
    LaneShape to = with_halo(random, from);
    from = with_halo(random, from);
    const int channels = between(random, 1, from.channels), in_first = between(random, 0, from.channels - channels),
              out_first = between(random, 0, 3);
    const int groups = channels % 2 == 0 && round % 2 == 0 ? 2 : channels % 3 == 0 ? 3 : 1;
    to.channels = out_first + channels + between(random, 0, 2);
    const Floats in = test::random_floats(random, test::size_of(from));
    Floats out(test::size_of(to), 7.0f);
    test::run(kernels.lane_copy, {{in.data(), &from}, in_first, {out.data(), &to}, out_first, channels, groups},
              between(random, 1, 3));
    check_pixels(to, out, [&](int n, int c, int y, int x) {
      const bool copied = c >= out_first && c < out_first + channels;
      const int i = c - out_first, shuffled = i % groups * (channels / groups) + i / groups;
      return copied ? at(from, in, n, shuffled + in_first, y, x) : 7.0f;
    });
    check_halo_is_untouched(to, out, 7.0f);
  }
}

}  // namespace

int main() {
  test::for_each_isa(activations);
  test::for_each_isa(unary_of_every_size);
  test::for_each_isa(lane_unary);
  test::for_each_isa(lane_binary);
  test::for_each_isa(lane_affine);
  test::for_each_isa(lane_copy);
  return test::finish();
}
