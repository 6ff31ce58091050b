#pragma once

#include "ops/device_elements.cuh"

namespace saccade::ops::detail {

struct alignas(16) Four {
  float value[4];
};

/// Four neighbours of a row from element `index`, of which `count` are there (any number): the
/// others are zero.
__device__ inline Four load_four(const void* data, DType dtype, std::int64_t index, int count) {
  if (count >= 4 && index % 2 == 0 && dtype != DType::kE4m3) {
    const float2 low = load_pair(data, dtype, index);
    const float2 high = load_pair(data, dtype, index + 2);
    return {low.x, low.y, high.x, high.y};
  }
  Four four = {};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i < count) four.value[i] = load_element(data, dtype, index + i);
  }
  return four;
}

}  // namespace saccade::ops::detail
