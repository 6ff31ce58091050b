#pragma once

#include "saccade/ops/norm.h"
#include "saccade/stream.h"
#include "saccade/tensor.h"

namespace saccade::ops {

/// out[r, :] = scale * table[ids[r], :], and what the norm that follows needs of it
///
///   ids    [rows]        i32, each in [0, vocabulary)
///   table  [vocabulary, dim]  f32, bf16 or f16
///   out    [rows, dim]   f32, bf16 or f16
///
/// CUDA does not check ids.
void embedding(const Stream&, Tensor ids, Tensor table, float scale, const NormOutputs& next,
               Tensor out);

}  // namespace saccade::ops
