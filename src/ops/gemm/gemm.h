#pragma once

#include "saccade/ops/gemm.h"

namespace saccade::ops::detail {

struct GemmParams {
  const void* x;
  const void* weight;
  const float* bias;     // null: not given
  const float* gate;     // null: not given
  const void* residual;  // null: not given
  void* out;
  int m;
  int n;  // columns of out: kGeglu has 2n rows of weight
  int k;
  Activation activation;
  DType x_type;
  DType weight_type;
  DType residual_type;
  DType out_type;
};

/// Checks the operands of ops::gemm.
GemmParams gemm_params(const Stream&, const Tensor& x, const Tensor& weight, const GemmEpilogue&,
                       const Tensor& out);

void gemm_cpu(const GemmParams&);

/// The same through OpenBLAS, for matrices of a real policy's size.
void gemm_blas(const GemmParams&);

}  // namespace saccade::ops::detail
