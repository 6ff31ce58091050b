#pragma once

#include "ops/quantize/quantize.h"
#include "saccade/stream.h"
#include "saccade/tensor.h"

namespace saccade::ops::detail {

/// Independent sequences of rows. Strides are elements from one row to the next, across sequences.
struct AttentionParams {
  const void* q;
  const void* k;
  const void* v;
  const std::int32_t* visible;  // null: every row sees all keys
  void* out;
  int sequences;
  int rows;     // of one sequence
  int kv_rows;  // of one sequence
  int heads;
  int kv_heads;
  int head_dim;
  int q_stride;
  int kv_stride;
  int out_stride;
  float scale;
  DType dtype;  // of q, k and v
  DType out_type;

  void* quantized;          // [rows, heads head_dim] e4m3, of one sequence; may be null
  float* quantized_scales;  // [quantized_blocks, rows]
  int quantized_blocks;
};

/// Checks the operands of ops::attention.
AttentionParams attention_params(const Stream&, const Tensor& q, const Tensor& k, const Tensor& v,
                                 const Tensor& visible, float scale, const Tensor& out,
                                 const ScaledMatrix& quantized);

/// Checks the operands of ops::attention_packed.
AttentionParams attention_packed_params(const Stream&, const Tensor& qkv, int heads, float scale,
                                        const Tensor& out);

/// out as quantized.
QuantizeParams quantize_params(const AttentionParams&);

void attention_cpu(const AttentionParams&);

/// The same through OpenBLAS, for sequences of a real policy's size.
constexpr int kMaxBlasHeadDim = 512;
void attention_blas(const AttentionParams&);

/// Any types, extents and masks; one warp for each query.
void attention_simple(const AttentionParams&, CUstream_st*);

/// bf16 or f16, head_dim a multiple of 8 up to 256, rows of 16-byte multiples (sm_80 and later).
bool attention_mma_takes(const AttentionParams&);
void attention_mma(const AttentionParams&, CUstream_st*);

/// Multi-query attention of many rows, head_dim 256, bf16 (sm_90). Gives quantized itself.
bool attention_multi_query_takes(const AttentionParams&);
void attention_multi_query(const AttentionParams&, CUstream_st*);

/// Multi-query attention of at most 64 rows against a long cache, head_dim 256, bf16, out also f16:
/// the keys are split over a cluster (sm_90).
bool attention_split_takes(const AttentionParams&);
void attention_split(const AttentionParams&, CUstream_st*);

}  // namespace saccade::ops::detail
