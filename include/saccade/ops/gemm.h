#pragma once

#include "saccade/stream.h"
#include "saccade/tensor.h"

namespace saccade::ops {

enum class Activation : std::uint8_t {
  kNone,
  kGelu,   // 0.5 v (1 + tanh(sqrt(2 / pi) (v + 0.044715 v^3)))
  kSilu,   // v / (1 + exp(-v))
  kGeglu,  // gelu(first half of the columns) * second half
};

/// What gemm does to a product before it is stored. Operands that are not given are skipped.
struct GemmEpilogue {
  Tensor bias = {};  // [n] f32
  Activation activation = Activation::kNone;
  Tensor gate = {};      // [n] f32
  Tensor residual = {};  // [m, n] of out's type; may be out
};

/// out = residual + gate * activation(x weight^T + bias)
///
///   x       [m, k]  f32 or bf16
///   weight  [n, k]  f32 or bf16, as PyTorch's Linear stores it
///           [2n, k] for kGeglu: n gate rows, then n up rows; bias is then [2n]
///   out     [m, n]  f32 or bf16; not x
///
/// Sums and the epilogue in f32, one rounding at the store. Any mix of types.
/// Overlap: none on the CPU.
void gemm(const Stream&, Tensor x, Tensor weight, const GemmEpilogue&, Tensor out);

}  // namespace saccade::ops
