#pragma once

#include "saccade/ops/quantize.h"
#include "saccade/stream.h"
#include "saccade/tensor.h"

namespace saccade::ops {

/// out[r, h, :] = sum_j softmax_j(scale q[r, h, :] . k[j, g, :]) v[j, g, :],  j < visible[r]
///
/// Query head h reads kv head g = h / (heads / kv_heads): multi-query when kv_heads is 1.
/// visible expresses every block-causal mask: a row sees all keys of its own and earlier blocks.
///
///   q        [rows, heads, head_dim]        f32, bf16 or f16
///   k, v     [kv_rows, kv_heads, head_dim]  type of q
///   visible  [rows]                         i32 in [1, kv_rows]; not given: every row sees all
///   out      [rows, heads head_dim]         f32, bf16 or f16; not q, k or v
///   quantized  of out's shape               may be absent: also out as ops::quantize gives it, out
///                                           is then scratch
///
/// Logits, softmax and sums in f32; the softmax's weights may be rounded to the type of q.
/// Overlap: for at most 64 rows, visible, and the keys and values in front of the last `rows`
/// visible ones, are read before the previous kernel has finished, and before those in front of it
/// that are still running: a writer of these stands further back than kernels can overlap.
void attention(const Stream&, Tensor q, Tensor k, Tensor v, Tensor visible, float scale, Tensor out,
               const ScaledMatrix& quantized = {});

/// Self-attention of independent sequences, from a merged projection. Every row sees its sequence.
///
///   qkv  [batch, rows, 3 heads head_dim]  f32, bf16 or f16: all queries, all keys, all values
///   out  [batch, rows, heads head_dim]    type of qkv
///
/// Logits, softmax and sums in f32.
void attention_packed(const Stream&, Tensor qkv, int heads, float scale, Tensor out);

}  // namespace saccade::ops
