#pragma once

#include "saccade/tensor.h"

namespace saccade::ops::detail {

struct LayerNormParams {
  const void* x;
  const float* weight;
  const float* bias;
  void* out;
  int rows;
  int dim;
  float eps;
  DType x_dtype;
  DType out_dtype;
};

void layer_norm_cpu(const LayerNormParams&);

}  // namespace saccade::ops::detail
