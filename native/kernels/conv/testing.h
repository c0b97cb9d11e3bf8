// A random convolution, and whether a kernel gives what the naive one does.
#pragma once

#include <cmath>
#include <cstdio>

#include "kernels/conv/naive.h"
#include "kernels/layout/naive.h"
#include "kernels/testing.h"

namespace featherweight::test {

struct ConvCase {
  ConvProblem problem;
  LaneShape residual_shape;
  Floats weights, picture, in, residual_picture, residual, bias;
  Epilogue epilogue;
  naive::PlainResult expected;
};

enum class Groups { kOne, kSome, kDepthwise };

inline ConvShape random_window(Random& random) {
  ConvShape conv;
  conv.kernel_h = between(random, 1, 4);
  conv.kernel_w = between(random, 1, 4);
  if (between(random, 0, 2) == 0) conv.kernel_h = conv.kernel_w = 1;
  conv.stride_h = between(random, 1, 3);
  conv.stride_w = between(random, 1, 3);
  if (between(random, 0, 2) == 0) conv.stride_h = conv.stride_w = 1;
  conv.dilation_h = between(random, 1, 2);
  conv.dilation_w = between(random, 1, 2);
  conv.pad_top = between(random, 0, conv.kernel_h - 1);
  conv.pad_left = between(random, 0, conv.kernel_w - 1);
  return conv;
}

// Pixels of the output, when `after` pixels of padding follow the picture.
inline int out_size(int size, int before, int after, int kernel, int dilation, int stride) {
  return std::max(0, size + before + after - dilation * (kernel - 1) - 1) / stride + 1;
}

inline Halo random_halo(Random& random, int least) {
  const auto side = [&] { return between(random, least, 1); };
  return {side(), side(), side(), side()};
}

inline ConvProblem random_problem(Random& random, int lanes, Groups groups) {
  ConvProblem p;
  p.conv = random_window(random);
  LaneShape &in = p.in, &out = p.out;
  random_grid(random, lanes, &in);
  in.batch = between(random, 1, 3);
  in.height = between(random, 1, 24);
  in.width = between(random, 1, 24);
  in.channels = between(random, 1, 24);
  out = in;
  out.channels = between(random, 1, 24);
  if (groups == Groups::kSome) {
    p.conv.groups = between(random, 2, 4);
    in.channels = p.conv.groups * between(random, 1, 6);
    out.channels = p.conv.groups * between(random, 1, 6);
  } else if (groups == Groups::kDepthwise) {
    p.conv.groups = in.channels;
    out.channels = in.channels * between(random, 1, 2);
  }
  const ConvShape& c = p.conv;
  const int after = between(random, 0, 2);
  out.height = out_size(in.height, c.pad_top, after, c.kernel_h, c.dilation_h, c.stride_h);
  out.width = out_size(in.width, c.pad_left, after, c.kernel_w, c.dilation_w, c.stride_w);
  out.tile_n = in.tile_n = tile_for(in.batch, in.grid_n);
  out.tile_h = std::max(tile_for(out.height, in.grid_h), tile_for(in.height, in.grid_h * c.stride_h));
  out.tile_w = std::max(tile_for(out.width, in.grid_w), tile_for(in.width, in.grid_w * c.stride_w));
  in.tile_h = out.tile_h * c.stride_h;
  in.tile_w = out.tile_w * c.stride_w;
  in.halo = halo_for(c, out.tile_h, out.tile_w);
  // Now and then wider than needed, or with a halo around the output.
  const int wide = between(random, 0, 3) == 0 ? 1 : 0;
  in.halo = {in.halo.top + wide, in.halo.left + wide, in.halo.bottom + wide, in.halo.right};
  if (between(random, 0, 1) == 0) out.halo = random_halo(random, 0);
  return p;
}

inline Floats in_lanes(const Floats& picture, const LaneShape& shape) {
  Floats map(size_of(shape), NAN);
  naive::enter_lanes({picture.data(), {map.data(), &shape}});
  naive::fill_halo({{map.data(), &shape}, 0.0f});
  return map;
}

inline std::size_t pixels(const LaneShape& s) {
  return static_cast<std::size_t>(s.batch) * static_cast<std::size_t>(s.channels * s.height * s.width);
}

// `density` of the weights are not zero. The case must not move: the epilogue points into it.
inline void fill(ConvCase& c, Random& random, double density) {
  const ConvProblem& p = c.problem;
  c.weights = random_floats(random, static_cast<std::size_t>(p.out.channels * (p.in.channels / p.conv.groups) *
                                                             p.conv.kernel_h * p.conv.kernel_w));
  std::bernoulli_distribution keep(density);
  for (float& w : c.weights)
    if (!keep(random)) w = 0.0f;
  c.picture = random_floats(random, pixels(p.in));
  c.in = in_lanes(c.picture, p.in);
  naive::PlainConv plain{p, c.weights.data(), c.picture.data(), nullptr, nullptr, {}};
  if (between(random, 0, 1) == 0) {
    c.bias = random_floats(random, static_cast<std::size_t>(p.out.channels));
    c.epilogue.bias = plain.bias = c.bias.data();
  }
  if (between(random, 0, 1) == 0) {
    c.residual_picture = random_floats(random, pixels(p.out));
    c.residual_shape = p.out;
    c.residual_shape.halo = random_halo(random, 0);
    c.residual = in_lanes(c.residual_picture, c.residual_shape);
    c.epilogue.residual = {c.residual.data(), &c.residual_shape};
    plain.residual = c.residual_picture.data();
  }
  const Activation activations[] = {{}, {ActivationKind::kRelu, 0.0f, 0.0f}, {ActivationKind::kClip, -0.25f, 0.5f},
                                    {ActivationKind::kSigmoid, 0.0f, 0.0f}, {ActivationKind::kHardSwish, 0.0f, 0.0f}};
  c.epilogue.activation = plain.activation = activations[between(random, 0, 4)];
  c.expected = naive::conv(plain);
}

// All pixels are right, and what is around the tiles was left alone.
template <class Packed>
void check_conv(void (*kernel)(const Convolution<Packed>&, Part) noexcept, const Packed& packed, const ConvCase& c,
                int parts) {
  const LaneShape& shape = c.problem.out;
  constexpr float kUntouched = 12345.0f;
  Floats out(size_of(shape), kUntouched);
  run(kernel, {&packed, c.in.data(), out.data(), c.epilogue}, parts);
  std::vector<float> got(c.expected.values.size());
  naive::leave_lanes({{out.data(), &shape}, got.data()});
  float worst = 0.0f;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const float error = std::fabs(got[i] - c.expected.values[i]) / (c.expected.bounds[i] + 1.0f);
    worst = error <= worst ? worst : error;  // not a number counts
  }
  CHECK(worst < 1e-6f);
  if (!(worst < 1e-6f)) {
    const ConvShape& v = c.problem.conv;
    std::fprintf(stderr,
                 "error %g: kernel %dx%d stride %d,%d pad %d,%d dilation %d,%d groups %d, %dx%dx%dx%d to %dx%dx%d, "
                 "tile %dx%d\n",
                 static_cast<double>(worst), v.kernel_h, v.kernel_w, v.stride_h, v.stride_w, v.pad_top, v.pad_left,
                 v.dilation_h, v.dilation_w, v.groups, c.problem.in.batch, c.problem.in.channels, c.problem.in.height,
                 c.problem.in.width, shape.channels, shape.height, shape.width, shape.tile_h, shape.tile_w);
  }
  bool alone = true;
  for (int image = 0; image < shape.tile_n; ++image)
    for (int channel = 0; channel < shape.channels; ++channel)
      for (int row = -shape.halo.top; row < shape.tile_h + shape.halo.bottom; ++row)
        for (int column = -shape.halo.left; column < shape.tile_w + shape.halo.right; ++column) {
          if (row >= 0 && row < shape.tile_h && column >= 0 && column < shape.tile_w) continue;
          const std::ptrdiff_t at =
              image * shape.image_stride() + channel * shape.channel_stride() + shape.offset(row, column);
          for (int lane = 0; lane < shape.lanes; ++lane)
            alone = alone && out[static_cast<std::size_t>(at + lane)] == kUntouched;
        }
  CHECK(alone);
}

// Nonzeros of dense weights.
struct SparseStorage {
  std::vector<float> values;
  std::vector<std::int32_t> columns;
  std::vector<std::int64_t> starts{0};
  SparseWeights view;

  SparseStorage(const Floats& weights, int rows) {
    const int width = static_cast<int>(weights.size()) / rows;
    for (int row = 0; row < rows; ++row) {
      for (int column = 0; column < width; ++column) {
        const float w = weights[static_cast<std::size_t>(row * width + column)];
        if (w == 0.0f) continue;
        values.push_back(w);
        columns.push_back(column);
      }
      starts.push_back(static_cast<std::int64_t>(values.size()));
    }
    view = {values.data(), columns.data(), starts.data(), rows, width};
  }
};

}  // namespace featherweight::test
