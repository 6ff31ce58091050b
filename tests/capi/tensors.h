#pragma once

#include <initializer_list>
#include <random>
#include <string>
#include <vector>

#include "capi_fixture.h"
#include "saccade_ops.h"

namespace saccade {

/// A window onto somebody's memory, as the C interface takes it.
inline saccade_tensor window(const void* data, std::initializer_list<std::int64_t> shape,
                             std::int32_t dtype = SACCADE_F32,
                             std::int32_t memory = SACCADE_HOST_MEMORY) {
  saccade_tensor tensor{};
  tensor.data = const_cast<void*>(data);
  tensor.dtype = dtype;
  tensor.memory = memory;
  tensor.rank = std::int32_t(shape.size());
  std::copy(shape.begin(), shape.end(), tensor.shape);
  return tensor;
}

inline std::vector<float> normals(std::size_t count, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

}  // namespace saccade
