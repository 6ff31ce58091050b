#pragma once

#include "saccade/stream.h"
#include "saccade/tensor.h"

namespace saccade::ops {

/// out[i] = sin(2 pi time / period_i), out[dim/2 + i] = cos(2 pi time / period_i),
/// period_i = min_period (max_period / min_period)^(i / (dim/2 - 1))
///
///   out  [dim]  f32; dim is even and at least 4
///
/// Computed in f64 and rounded once, as the PyTorch references do. Runs on the host, at load.
void time_embedding(float time, double min_period, double max_period, Tensor out);

/// x = x + dt * velocity
///
///   x, velocity  [rows, dim]  f32
void euler_step(const Stream&, Tensor x, Tensor velocity, float dt);

}  // namespace saccade::ops
