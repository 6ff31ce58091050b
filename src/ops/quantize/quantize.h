#pragma once

#include "saccade/ops/quantize.h"

namespace saccade::ops::detail {

/// A smaller scale is 1 instead: this one's reciprocal is finite.
constexpr float kSmallestScale = 0x1p-126f;

struct QuantizeParams {
  const void* x;
  void* values;   // e4m3
  float* scales;  // [blocks, rows]
  int rows;
  int columns;
  int blocks;  // 1, or one for every kScaleBlock columns
  DType x_type;
};

void quantize_cpu(const QuantizeParams&);
void quantize_cuda(const QuantizeParams&, CUstream_st*);

}  // namespace saccade::ops::detail
