#pragma once

#include <cstdint>

#include "saccade/stream.h"

namespace saccade::ops::detail {

struct NormalNoiseParams {
  std::uint64_t seed;
  float mean;
  float deviation;
  void* out;
  std::int64_t size;
  DType dtype;
};

void normal_noise_cpu(const NormalNoiseParams&);
void normal_noise_cuda(const NormalNoiseParams&, CUstream_st*);

}  // namespace saccade::ops::detail
