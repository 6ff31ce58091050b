#pragma once

#include <cstdint>

namespace saccade::ops::detail {

struct EulerStepParams {
  float* x;
  const float* velocity;
  std::int64_t size;
  float dt;
};

void euler_step_cpu(const EulerStepParams&);

}  // namespace saccade::ops::detail
