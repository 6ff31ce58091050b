#pragma once

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

}  // namespace saccade::ops::detail
