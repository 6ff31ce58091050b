#pragma once

#include <cstdint>

#include "saccade/stream.h"

namespace saccade::ops::detail {

struct EulerStepParams {
  float* x;
  const float* velocity;
  std::int64_t size;
  float dt;
};

void euler_step_cpu(const EulerStepParams&);
void euler_step_cuda(const EulerStepParams&, CUstream_st*);

}  // namespace saccade::ops::detail
