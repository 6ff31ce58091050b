#pragma once

#include "saccade/stream.h"

namespace saccade::ops::detail {

/// Of normalize and of its inverse.
struct FeatureScalingParams {
  const float* x;
  const float* center;
  const float* range;
  float* out;
  int rows;
  int dim;
  int x_stride;  // elements from row to row of x; out's rows are dim apart
  float gain;
  float bias;
};

void normalize_cpu(const FeatureScalingParams&);
void denormalize_cpu(const FeatureScalingParams&);
void normalize_cuda(const FeatureScalingParams&, CUstream_st*);
void denormalize_cuda(const FeatureScalingParams&, CUstream_st*);

}  // namespace saccade::ops::detail
