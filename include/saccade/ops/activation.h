#pragma once

#include "saccade/stream.h"
#include "saccade/tensor.h"

namespace saccade::ops {

/// out = x / (1 + exp(-x))
///
///   x, out  any shape, both of one; f32 or bf16, both of one type; out may be x
void silu(const Stream&, Tensor x, Tensor out);

/// out = 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
///
///   x, out  any shape, both of one; f32 or bf16, both of one type; out may be x
void gelu(const Stream&, Tensor x, Tensor out);

}  // namespace saccade::ops
