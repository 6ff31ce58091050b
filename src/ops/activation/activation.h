#pragma once

#include "saccade/stream.h"
#include "saccade/tensor.h"

namespace saccade::ops::detail {

struct ActivationParams {
  const void* x;
  void* out;
  std::int64_t size;
  DType dtype;
};

void silu_cpu(const ActivationParams&);
void gelu_cpu(const ActivationParams&);
void silu_cuda(const ActivationParams&, CUstream_st*);
void gelu_cuda(const ActivationParams&, CUstream_st*);

}  // namespace saccade::ops::detail
