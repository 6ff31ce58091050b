#include "core/arena.h"

#include <sys/mman.h>

#include <new>
#include <utility>

#include "core/check.h"

namespace saccade {
namespace {

constexpr std::size_t kAlignment = 256;

std::size_t aligned(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

}  // namespace

Arena::Arena(std::size_t capacity_bytes) : capacity_(aligned(capacity_bytes)) {
  if (capacity_ == 0) return;
  void* block =
      mmap(nullptr, capacity_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED) throw std::bad_alloc();
  // Gigabytes of weights are first touched a page at a time; large pages make that a few thousand
  // faults instead of millions. Where the system has none, nothing changes.
  madvise(block, capacity_, MADV_HUGEPAGE);
  block_ = {block, [bytes = capacity_](void* mapped) { munmap(mapped, bytes); }};
}

Arena::Arena(std::shared_ptr<void> block, std::size_t capacity_bytes, Device device)
    : block_(std::move(block)), device_(device), capacity_(capacity_bytes) {}

Arena Arena::measuring() {
  Arena arena;
  arena.measuring_ = true;
  return arena;
}

Tensor Arena::allocate(Shape shape, DType dtype) {
  Tensor tensor{nullptr, shape, dtype, device_};
  const std::size_t bytes = aligned(tensor.bytes());
  if (!measuring_) {
    SACCADE_CHECK(bytes <= capacity_ - used_, "arena", "asked for ", bytes, " bytes, ",
                  capacity_ - used_, " are left");
    tensor.data = static_cast<std::byte*>(block_.get()) + used_;
  }
  used_ += bytes;
  return tensor;
}

}  // namespace saccade
