#pragma once

#include <span>

#include "saccade/stream.h"
#include "saccade/tensor.h"

namespace saccade::bench {

/// Microseconds of x weight^T by the best of cuBLASLt's own suggestions, without an epilogue, over
/// equal weights in turn. 0 where the library is missing or does not take the shape.
double cublaslt_us(const Stream&, Tensor x, std::span<const Tensor> weights, DType out);

}  // namespace saccade::bench
