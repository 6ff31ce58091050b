#pragma once

#include <boost/beast/core/flat_buffer.hpp>
#include <cstddef>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace saccade::server {

/// Memory that begins half a page behind the start of a page. The kernel keeps what a client on
/// this machine sends in pages that it fills from their start, and copies it out of them with `rep
/// movsb`. On AMD's Zen 4 that takes four times as long where the target is some bytes further into
/// its page than the source is: just where malloc's memory lies once a frame's header is cut off.
template <typename T>
struct HalfPageAllocator {
  using value_type = T;

  HalfPageAllocator() = default;
  template <typename U>
  HalfPageAllocator(const HalfPageAllocator<U>&) {}

  T* allocate(std::size_t count) {
    void* page = ::operator new(kHalfPage + count * sizeof(T), kPage);
    return reinterpret_cast<T*>(static_cast<std::byte*>(page) + kHalfPage);
  }
  void deallocate(T* memory, std::size_t) {
    ::operator delete(reinterpret_cast<std::byte*>(memory) - kHalfPage, kPage);
  }
  bool operator==(const HalfPageAllocator&) const = default;

 private:
  static constexpr std::align_val_t kPage{4096};
  static constexpr std::size_t kHalfPage = 2048;
};

using MessageBuffer = boost::beast::basic_flat_buffer<HalfPageAllocator<char>>;

/// Buffers of messages. One that nobody holds any more is taken again: fresh memory takes longer
/// to get than a message to copy. Any thread may drop a buffer, even one that outlives the pool.
class MessagePool {
 public:
  std::shared_ptr<MessageBuffer> take() {
    std::unique_ptr<MessageBuffer> buffer = spare_->pop();
    if (!buffer) buffer = std::make_unique<MessageBuffer>();
    return {buffer.release(), [spare = spare_](MessageBuffer* dropped) {
              spare->push(std::unique_ptr<MessageBuffer>(dropped));
            }};
  }

 private:
  class Spare {
   public:
    Spare() { buffers_.reserve(kMostBuffers); }

    std::unique_ptr<MessageBuffer> pop() {
      const std::lock_guard lock(mutex_);
      if (buffers_.empty()) return nullptr;
      std::unique_ptr<MessageBuffer> last = std::move(buffers_.back());
      buffers_.pop_back();
      return last;
    }

    void push(std::unique_ptr<MessageBuffer> buffer) {
      if (buffer->capacity() > kMostBytes) return;
      buffer->clear();
      const std::lock_guard lock(mutex_);
      if (buffers_.size() < kMostBuffers) buffers_.push_back(std::move(buffer));
    }

   private:
    static constexpr std::size_t kMostBuffers = 16;
    static constexpr std::size_t kMostBytes = std::size_t{16} << 20;
    std::mutex mutex_;
    std::vector<std::unique_ptr<MessageBuffer>> buffers_;
  };

  std::shared_ptr<Spare> spare_ = std::make_shared<Spare>();
};

}  // namespace saccade::server
