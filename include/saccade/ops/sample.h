#pragma once

#include "saccade/stream.h"
#include "saccade/tensor.h"

namespace saccade::ops {

/// out[i] = mean + deviation * the i-th standard normal value of this seed
///
///   out  any shape; f32, bf16 or f16
///
/// Philox4x32-10 with key = seed and counter = i / 4, then Box-Muller on pairs of 32-bit words.
/// The same seed gives the same values on every machine to within an ulp of log, sin and cos.
void normal_noise(const Stream&, std::uint64_t seed, float mean, float deviation, Tensor out);

}  // namespace saccade::ops
