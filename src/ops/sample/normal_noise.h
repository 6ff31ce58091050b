#pragma once

#include <cstdint>

namespace saccade::ops::detail {

struct NormalNoiseParams {
  std::uint64_t seed;
  float* out;
  std::int64_t size;
};

void normal_noise_cpu(const NormalNoiseParams&);

}  // namespace saccade::ops::detail
