#pragma once

#include <optional>

#include "cuda/serial_order.h"
#include "saccade/stream.h"
#include "saccade/tensor.h"
#include "saccade_ops.h"

namespace saccade::capi {

/// The operands of one call of an op, and the stream that it runs on: that of the memory of its
/// first operand. While it lives, what the op launches overlaps with nothing in the caller's
/// stream.
class Operands {
 public:
  /// Takes the first operand. Fails when a stream is given for host memory.
  Operands(const char* op, const char* first_name, const saccade_tensor* first, void* stream);

  const Stream& stream() const { return stream_; }
  const Tensor& first() const { return first_; }

  /// Fails when there is none, or it is no tensor that an op can take.
  Tensor take(const char* name, const saccade_tensor*) const;

  /// The same, where NULL stands for an operand that is not given.
  Tensor take_optional(const char* name, const saccade_tensor*) const;

 private:
  const char* op_;
  Stream stream_;
  Tensor first_;
  std::optional<cuda::SerialOrder> order_;  // on a GPU
};

}  // namespace saccade::capi
