#include "ops/flow/euler_step.h"

namespace saccade::ops::detail {

void euler_step_cpu(const EulerStepParams& p) {
  for (std::int64_t i = 0; i < p.size; ++i) p.x[i] += p.dt * p.velocity[i];
}

}  // namespace saccade::ops::detail
