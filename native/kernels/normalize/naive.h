// normalize by its formula, one number after the other.
#pragma once

#include <cmath>
#include <cstdint>

namespace featherweight::naive {

// Over `size` numbers that are `stride` apart.
inline void normalize(const float* in, float* out, std::int64_t size, std::int64_t stride, double epsilon) {
  double mean = 0.0, variance = 0.0;
  for (std::int64_t i = 0; i < size; ++i) mean += in[i * stride] / static_cast<double>(size);
  for (std::int64_t i = 0; i < size; ++i)
    variance += (in[i * stride] - mean) * (in[i * stride] - mean) / static_cast<double>(size);
  for (std::int64_t i = 0; i < size; ++i)
    out[i * stride] = static_cast<float>((in[i * stride] - mean) / std::sqrt(variance + epsilon));
}

}  // namespace featherweight::naive
