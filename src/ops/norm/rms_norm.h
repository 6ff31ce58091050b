#pragma once

#include "saccade/stream.h"

namespace saccade::ops::detail {

struct RmsNormParams {
  const void* x;
  const float* weight;
  const float* shift;  // null: none
  void* out;
  float* out_scales;  // [rows], of e4m3
  int rows;
  int dim;
  float eps;
  DType x_dtype;
  DType out_dtype;
};

void rms_norm_cpu(const RmsNormParams&);
void rms_norm_cuda(const RmsNormParams&, CUstream_st*);

}  // namespace saccade::ops::detail
