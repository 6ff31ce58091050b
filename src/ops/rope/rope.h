#pragma once

#include "saccade/stream.h"
#include "saccade/tensor.h"

namespace saccade::ops::detail {

struct RopeParams {
  const void* qkv;
  const std::int32_t* positions;
  const float* table;
  void* q;  // null: not wanted
  void* k;
  void* v;
  int rows;
  int heads;
  int kv_heads;
  int head_dim;
  DType dtype;
};

void rope_cpu(const RopeParams&);
void rope_cuda(const RopeParams&, CUstream_st*);

/// Checks the operands of ops::rope; `op` stands in its messages.
RopeParams rope_params(const char* op, const Stream&, const Tensor& qkv, const Tensor& positions,
                       const Tensor& table, const Tensor& q, const Tensor& k, const Tensor& v);

}  // namespace saccade::ops::detail
