// The reference. Written to be read: no blocking, no vectors, no threads.

#include "ops/activation/functions.h"
#include "ops/elements.h"
#include "ops/gemm/gemm.h"
#include "ops/gemm/rows.h"

namespace saccade::ops::detail {
namespace {

/// x[row, :] . weight[column, :] * norm + bias[column]
float linear(const GemmParams& p, std::int64_t row, std::int64_t column) {
  float sum = 0;
  for (int i = 0; i < p.k; ++i) {
    sum += x_scale(p, row, i) * load(p.x, p.x_type, row * p.k + i) *
           load(p.weight, p.weight_type, column * p.k + i);
  }
  if (p.weight_scales) sum *= p.weight_scales[column];
  sum *= norm_factor(p, row);
  return p.bias ? sum + p.bias[column] : sum;
}

float activated(const GemmParams& p, std::int64_t row, std::int64_t column) {
  const float value = linear(p, row, column);
  switch (p.activation) {
    case Activation::kGelu:
      return gelu(value);
    case Activation::kSilu:
      return silu(value);
    case Activation::kGeglu:
      return gelu(value) * linear(p, row, p.n + column);
    case Activation::kNone:
      break;
  }
  return value;
}

}  // namespace

void gemm_cpu(const GemmParams& p) {
  for (std::int64_t row = 0; row < p.m; ++row) {
    float squares = 0;
    for (std::int64_t column = 0; column < p.n; ++column) {
      const std::int64_t index = row * p.n + column;
      float value = activated(p, row, column);
      if (p.guidance_weights) value = guided(p, row, index, value);
      if (p.gate) value *= p.gate[column];
      if (p.residual) value += load(p.residual, p.out_type, index);
      store(p.out, p.out_type, index, value);
      if (p.scaled) store(p.scaled, p.scaled_type, index, value * p.scale[column]);
      squares += value * value;
    }
    if (p.squares) store_squares(p, row, squares);
  }
  if (p.quantized) quantize_cpu(quantize_params(p));
}

}  // namespace saccade::ops::detail
