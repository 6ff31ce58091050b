#pragma once

#include "saccade/stream.h"
#include "saccade/tensor.h"

namespace saccade::ops {

/// out[r, :] = scale * table[ids[r], :]
///
///   ids    [rows]        i32, each in [0, vocabulary)
///   table  [vocabulary, dim]  f32 or bf16
///   out    [rows, dim]   f32 or bf16
void embedding(const Stream&, Tensor ids, Tensor table, float scale, Tensor out);

}  // namespace saccade::ops
