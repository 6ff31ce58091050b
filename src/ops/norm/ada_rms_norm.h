#pragma once

#include "saccade/tensor.h"

namespace saccade::ops::detail {

struct AdaRmsNormParams {
  const void* x;
  const float* scale;
  const float* shift;
  void* out;
  int rows;
  int dim;
  float eps;
  DType x_dtype;
  DType out_dtype;
};

void ada_rms_norm_cpu(const AdaRmsNormParams&);

}  // namespace saccade::ops::detail
