#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "saccade/tensor.h"

namespace saccade {

/// The distribution of one tensor's values. They depend on the seed, the tensor's name and the
/// element's index only, so that any piece of a tensor can be made by itself.
struct RandomTensor {
  RandomTensor(std::uint64_t seed, std::string_view name, float mean, float std);

  /// Values of the elements from `first` on. They are within 3.5 std of the mean.
  void fill(std::uint64_t first, std::span<float> out) const;
  void fill(std::uint64_t first, std::span<bf16> out) const;

 private:
  std::uint64_t key_;
  float scale_;
  float offset_;
};

}  // namespace saccade
