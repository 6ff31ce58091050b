#pragma once

#include <cstddef>
#include <memory>

#include "saccade/tensor.h"

namespace saccade {

/// One block of zeroed memory, handed out front to back in 256-byte steps and freed as a whole.
/// Pages of CPU memory are taken from the system only when they are first written.
class Arena {
 public:
  Arena() = default;
  explicit Arena(std::size_t capacity_bytes);  // on the CPU

  /// Hands out a block that somebody else made.
  Arena(std::shared_ptr<void> block, std::size_t capacity_bytes, Device);

  /// Counts what allocate() is asked for and hands out tensors without data, so that one list of
  /// allocations both measures a block and fills it.
  static Arena measuring();

  /// A tensor of this shape and type. Fails when the block is used up.
  Tensor allocate(Shape, DType);

  std::size_t used_bytes() const { return used_; }
  std::size_t capacity_bytes() const { return capacity_; }
  void* data() const { return block_.get(); }

 private:
  std::shared_ptr<void> block_;
  Device device_ = Device::kCpu;
  std::size_t capacity_ = 0;
  std::size_t used_ = 0;
  bool measuring_ = false;
};

}  // namespace saccade
