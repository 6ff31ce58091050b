#pragma once

#include "saccade/stream.h"
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
void layer_norm_cuda(const LayerNormParams&, CUstream_st*);

}  // namespace saccade::ops::detail
