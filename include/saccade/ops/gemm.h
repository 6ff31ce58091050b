#pragma once

#include "saccade/ops/norm.h"
#include "saccade/ops/quantize.h"
#include "saccade/stream.h"
#include "saccade/tensor.h"

namespace saccade::ops {

enum class Activation : std::uint8_t {
  kNone,
  kGelu,   // 0.5 v (1 + tanh(sqrt(2 / pi) (v + 0.044715 v^3)))
  kSilu,   // v / (1 + exp(-v))
  kGeglu,  // gelu(first half of the columns) * second half
};

/// Pulls what a row would become at time 0, residual - time * v, towards a target (real-time
/// chunking):
///
///   guided(v) = v - weights[row] * (target - (residual - time * v))
///
/// A row whose weight is 0 keeps its bits, whatever its target holds.
struct Guidance {
  Tensor target = {};   // [m, n] f32; not out
  Tensor weights = {};  // [m] f32
  float time = 0;

  explicit operator bool() const { return bool(weights); }
};

/// What gemm does to a product before it is stored. Operands that are not given are skipped.
struct GemmEpilogue {
  RowNorm norm = {};
  Tensor bias = {};  // [n] f32
  Activation activation = Activation::kNone;
  Tensor gate = {};      // [n] f32
  Tensor residual = {};  // [m, n] of out's type; may be out
  NormOutputs next = {};
  ScaledMatrix quantized = {};  // [m, n]: also out as ops::quantize gives it; out is then scratch
  Guidance guidance = {};       // needs the residual
};

/// out = residual + gate * guided(activation(norm * (x weight^T) + bias))
///
///   x       [m, k]  f32, bf16, f16, or e4m3 with scales
///   weight  [n, k]  f32, bf16, f16, or e4m3 with scales [1, n], as PyTorch's Linear stores it
///           [2n, k] for kGeglu: n gate rows, then n up rows; bias is then [2n], scales [1, 2n]
///   out     [m, n]  f32, bf16 or f16; not x
///
/// Sums and the epilogue in f32, one rounding at the store. Any mix of types. On Hopper, the tensor
/// cores add up products of two e4m3 with about 14 bits; and for at most 64 rows of bf16, or of f16
/// beside weights in e4m3, parts of the sums are rounded to f16 on their way to an out in 16 bits
/// or with a next norm (docs/numerics.md).
///
/// Overlap: reads weight and guidance before the previous kernel has finished.
void gemm(const Stream&, const ScaledMatrix& x, const ScaledMatrix& weight, const GemmEpilogue&,
          Tensor out);

/// Queries, keys and values of an attention block: a merged projection, split into heads, queries
/// and keys rotated by position (ops/rope.h), keys and values stored in the cache row of their
/// position.
///
///   qkv = norm * (x weight^T) + bias;  q[r], k[positions[r]], v[positions[r]] = rope(qkv[r])
///
///   x          [rows, k]                                as in gemm
///   weight     [(heads + 2 kv_heads) head_dim, k]       as in gemm
///   norm       as in GemmEpilogue; may be absent
///   bias       [(heads + 2 kv_heads) head_dim]          f32; may be absent
///   positions  [rows]                                   i32, each below the rows of k and table
///   table      [positions, head_dim]                    f32, from rope_table
///   qkv        [rows, (heads + 2 kv_heads) head_dim]    f32, bf16 or f16: scratch
///   q          [rows, heads, head_dim]                  type of qkv; may be absent
///   k, v       [cache rows, kv_heads, head_dim]         type of qkv
///
/// Overlap: as gemm. CUDA does not check positions.
void project_qkv(const Stream&, const ScaledMatrix& x, const ScaledMatrix& weight,
                 const RowNorm& norm, Tensor bias, Tensor positions, Tensor table, Tensor qkv,
                 Tensor q, Tensor k, Tensor v);

}  // namespace saccade::ops
