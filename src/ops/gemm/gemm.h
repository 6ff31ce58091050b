#pragma once

#include "ops/quantize/quantize.h"
#include "ops/rope/rope.h"
#include "ops/trace.h"
#include "saccade/ops/gemm.h"

namespace saccade::ops::detail {

/// Operands that are not given are null.
struct GemmParams {
  const void* x;
  const void* weight;
  const float* bias;
  const float* gate;
  const void* residual;  // of out's type
  void* out;
  int m;
  int n;  // columns of out: kGeglu has 2n rows of weight
  int k;
  Activation activation;
  DType x_type;
  DType weight_type;
  DType out_type;

  const float* norm_squares;  // [m, norm_parts]
  int norm_parts;
  float norm_eps;

  const float* scale;
  void* scaled;
  DType scaled_type;
  float* squares;  // [m, squares_parts]
  int squares_parts;

  const float* x_scales;       // [x_blocks, m]
  int x_blocks;                // 1, or one for every kScaleBlock of k
  const float* weight_scales;  // of each row of weight

  void* quantized;          // [m, n] e4m3
  float* quantized_scales;  // [quantized_blocks, m]
  int quantized_blocks;

  const float* guidance_target;   // [m, n]
  const float* guidance_weights;  // [m]
  float guidance_time;
};

/// gemm.out is qkv, the scratch; rope reads it where the projection does not rotate by itself.
struct QkvParams {
  GemmParams gemm;
  RopeParams rope;
};

/// The product for a trace.
OpRecord describe_gemm(const char* op, const GemmParams&);

/// out as quantized.
QuantizeParams quantize_params(const GemmParams&);

/// Checks the operands of ops::gemm.
GemmParams gemm_params(const Stream&, const ScaledMatrix& x, const ScaledMatrix& weight,
                       const GemmEpilogue&, const Tensor& out);

void gemm_cpu(const GemmParams&);

/// The same through OpenBLAS, for matrices of a real policy's size.
void gemm_blas(const GemmParams&);

/// The kernel for the shape, among those below.
void gemm_cuda(const GemmParams&, const Stream&);

/// Any types and any shape, one thread for each element of a small tile.
void gemm_simple(const GemmParams&, CUstream_st*);

/// At most 32 columns of k <= 2048 with nothing for a next norm, or k <= 64 without guidance; k a
/// multiple of 4, not kGeglu (any GPU).
bool gemm_thin_takes(const GemmParams&);
void gemm_thin(const GemmParams&, CUstream_st*);

/// x and weight both bf16 or both f16, k a multiple of 4 (sm_80 and later).
bool gemm_mma_takes(const GemmParams&);
void gemm_mma(const GemmParams&, CUstream_st*);

/// x and weight both bf16, both f16 or both e4m3, rows of 16-byte multiples, no guidance (sm_90).
bool gemm_sm90_takes(const GemmParams&);
void gemm_sm90(const GemmParams&, CUstream_st*);
bool project_qkv_sm90_takes(const QkvParams&);
void project_qkv_sm90(const QkvParams&, CUstream_st*);

/// At most 64 rows of bf16 times bf16, or of f16 times e4m3, where reading the weights is the work;
/// no guidance (sm_90).
bool gemm_skinny_takes(const GemmParams&);
void gemm_skinny(const GemmParams&, CUstream_st*);
bool project_qkv_skinny_takes(const QkvParams&);
void project_qkv_skinny(const QkvParams&, CUstream_st*);

}  // namespace saccade::ops::detail
