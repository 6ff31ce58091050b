#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "saccade/stream.h"
#include "saccade/tensor.h"

// What `verify` says about one stage of a computation.
namespace saccade {

/// Sums over pairs of values that a stage's error is made of.
struct ErrorSums {
  double difference = 0;  // sum of squares
  double norm = 0;        // sum of squares of the reference
  double own_norm = 0;    // sum of squares of the values
  double product = 0;     // sum of products of the two
  double max_abs = 0;

  void add(double value, double reference);

  double relative() const;  // |values - reference| / |reference|, Euclidean
  double cosine() const;    // 1 where both are zero
};

/// How many values of a stage are no ordinary numbers.
struct ValueCounts {
  std::uint64_t values = 0;
  std::uint64_t non_finite = 0;
  std::uint64_t saturated = 0;  // of the largest magnitude of f16, which overflows become

  /// Adds those of a tensor that the host can read: f32, bf16, f16 or e4m3.
  void add(const Tensor&);
};

/// The values of a tensor that the host can read, as f32.
std::vector<float> widened(const Tensor&);

/// Copies tensors of a stream to where the host can read them.
class HostReader {
 public:
  /// The tensor itself on the CPU; else a copy that lives until the next one.
  Tensor read(const Stream&, const Tensor&);

 private:
  std::vector<std::byte> copy_;
};

}  // namespace saccade
