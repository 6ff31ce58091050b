#pragma once

#include <cuda.h>

#include <cstdint>
#include <span>

#include "saccade/tensor.h"

namespace saccade::cuda {

/// One axis of a tensor map, innermost first.
struct MapAxis {
  std::int64_t extent;
  std::int64_t stride;  // in elements; the innermost axis has 1
  int box;              // extent of what one copy moves
};

/// A view of bf16, f16 or e4m3 elements in device memory that tensor_load() copies box by box into
/// 128-byte swizzled shared memory. The innermost box is 128 bytes; elements of a box that lie
/// outside an extent arrive as zeros. Strides are multiples of 16 bytes, data is 16-byte aligned.
CUtensorMap make_tensor_map(const void* data, DType, std::span<const MapAxis>);

}  // namespace saccade::cuda
