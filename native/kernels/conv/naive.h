// Convolution by the book: pictures as (N, C, H, W), sums in double.
#pragma once

#include <cmath>
#include <vector>

#include "kernels/elementwise/activation_naive.h"
#include "kernels/operations.h"

namespace featherweight::naive {

struct PlainConv {
  ConvProblem problem;
  const float* weights = nullptr;  // (M, C / groups, kernel_h, kernel_w)
  const float* in = nullptr;       // (N, C, H, W)
  const float* bias = nullptr;
  const float* residual = nullptr;  // (N, M, OH, OW)
  Activation activation;
};

struct PlainResult {
  std::vector<float> values, bounds;  // bounds: what is added up, by its absolute values
};

inline PlainResult conv(const PlainConv& op) {
  const ConvShape& c = op.problem.conv;
  const LaneShape &in = op.problem.in, &out = op.problem.out;
  const int group_in = in.channels / c.groups, group_out = out.channels / c.groups;
  PlainResult result;
  for (int n = 0; n < out.batch; ++n)
    for (int m = 0; m < out.channels; ++m)
      for (int y = 0; y < out.height; ++y)
        for (int x = 0; x < out.width; ++x) {
          double sum = op.bias != nullptr ? op.bias[m] : 0.0;
          if (op.residual != nullptr) sum += op.residual[result.values.size()];
          double bound = std::fabs(sum);
          for (int k = 0; k < group_in; ++k)
            for (int i = 0; i < c.kernel_h; ++i)
              for (int j = 0; j < c.kernel_w; ++j) {
                const int row = y * c.stride_h + i * c.dilation_h - c.pad_top;
                const int column = x * c.stride_w + j * c.dilation_w - c.pad_left;
                if (row < 0 || row >= in.height || column < 0 || column >= in.width) continue;
                const int channel = m / group_out * group_in + k;
                const float w = op.weights[((m * group_in + k) * c.kernel_h + i) * c.kernel_w + j];
                const float a = op.in[((n * in.channels + channel) * in.height + row) * in.width + column];
                sum += double{w} * double{a};
                bound += std::fabs(double{w} * double{a});
              }
          result.values.push_back(activate(op.activation, static_cast<float>(sum)));
          result.bounds.push_back(static_cast<float>(bound));
        }
  return result;
}

}  // namespace featherweight::naive
