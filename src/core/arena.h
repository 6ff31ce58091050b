#pragma once

#include <cstddef>
#include <memory>

#include "saccade/tensor.h"

namespace saccade {

/// One block of zeroed CPU memory, handed out front to back in 64-byte steps and freed as a
/// whole. Its pages are taken from the system only when they are first written.
class Arena {
 public:
  Arena() = default;
  explicit Arena(std::size_t capacity_bytes);

  /// Counts what allocate() is asked for and hands out tensors without data, so that one list of
  /// allocations both measures a block and fills it.
  static Arena measuring();

  /// A tensor of this shape and type. Fails when the block is used up.
  Tensor allocate(Shape, DType);

  std::size_t used_bytes() const { return used_; }
  std::size_t capacity_bytes() const { return capacity_; }

 private:
  struct Unmap {
    std::size_t bytes;
    void operator()(std::byte* block) const;
  };
  std::unique_ptr<std::byte, Unmap> block_{nullptr, Unmap{0}};
  std::size_t capacity_ = 0;
  std::size_t used_ = 0;
  bool measuring_ = false;
};

}  // namespace saccade
