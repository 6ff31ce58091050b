#pragma once

#include "saccade/stream.h"
#include "saccade/tensor.h"

namespace saccade::ops {

/// table[p, i] = cos(p f_i), table[p, dim/2 + i] = sin(p f_i),  f_i = base^(-2 i / dim)
///
///   table  [positions, dim]  f32; dim is even
///
/// Every product is rounded to f32 before the cosine, as PyTorch does. Runs on the host, at load.
void rope_table(float base, Tensor table);

/// Splits a row of a merged projection into its heads and rotates queries and keys by position.
/// Half-split pairs (i, i + head_dim/2):
///   y[i]              = x[i] cos - x[i + head_dim/2] sin
///   y[i + head_dim/2] = x[i + head_dim/2] cos + x[i] sin
///
///   qkv        [rows, (heads + 2 kv_heads) head_dim]  f32 or bf16: queries, keys, values
///   positions  [rows]                                 i32, each below the rows of table and k
///   table      [positions, head_dim]                  f32, from rope_table
///   q          [rows, heads, head_dim]                type of qkv
///   k, v       [cache rows, kv_heads, head_dim]       type of qkv: row r goes to row positions[r];
///                                                     v is copied unrotated
///
/// Rotates in f32, rounds once. q may not be given: then only k and v are written. CUDA does not
/// check positions.
void rope(const Stream&, Tensor qkv, Tensor positions, Tensor table, Tensor q, Tensor k, Tensor v);

}  // namespace saccade::ops
