#include <cstddef>

#include "ops/norm/feature_scaling.h"

namespace saccade::ops::detail {

void normalize_cpu(const FeatureScalingParams& p) {
  for (int row = 0; row < p.rows; ++row) {
    const float* x = p.x + std::size_t(row) * p.x_stride;
    float* out = p.out + std::size_t(row) * p.dim;
    for (int i = 0; i < p.dim; ++i) {
      out[i] = (x[i] - p.center[i]) / p.range[i] * p.gain + p.bias;
    }
  }
}

void denormalize_cpu(const FeatureScalingParams& p) {
  for (int row = 0; row < p.rows; ++row) {
    const float* x = p.x + std::size_t(row) * p.x_stride;
    float* out = p.out + std::size_t(row) * p.dim;
    for (int i = 0; i < p.dim; ++i) {
      out[i] = (x[i] - p.bias) / p.gain * p.range[i] + p.center[i];
    }
  }
}

}  // namespace saccade::ops::detail
