#pragma once

#include <sys/mman.h>

#include <boost/beast/core/flat_buffer.hpp>
#include <cstddef>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace saccade::server {

/// Memory that, where it is large, is the system's own and begins half a page behind the start of a
/// page. The kernel keeps what a client on this machine sends in pages that it fills from their
/// start, and copies it out of them with `rep movsb`. On AMD's Zen 4 that takes four times as long
/// where the target is some bytes further into its page than the source is: just where malloc's
/// memory lies once a frame's header is cut off. And messages of many sizes, which recorder and
/// viewer keep for a while, would leave malloc's heap full of holes.
template <typename T>
struct MessageAllocator {
  using value_type = T;

  MessageAllocator() = default;
  template <typename U>
  MessageAllocator(const MessageAllocator<U>&) {}

  T* allocate(std::size_t count) {
    const std::size_t size = count * sizeof(T);
    if (size < kLarge) return static_cast<T*>(::operator new(size));
    void* pages = ::mmap(nullptr, kHalfPage + size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) throw std::bad_alloc();
    return reinterpret_cast<T*>(static_cast<std::byte*>(pages) + kHalfPage);
  }
  void deallocate(T* memory, std::size_t count) {
    const std::size_t size = count * sizeof(T);
    if (size < kLarge) return ::operator delete(memory);
    ::munmap(reinterpret_cast<std::byte*>(memory) - kHalfPage, kHalfPage + size);
  }
  bool operator==(const MessageAllocator&) const = default;

 private:
  static constexpr std::size_t kLarge = std::size_t{64} << 10;
  static constexpr std::size_t kHalfPage = 2048;
};

using MessageBuffer = boost::beast::basic_flat_buffer<MessageAllocator<char>>;

/// Buffers of a connection's messages. One that nobody holds any more is taken again: fresh memory
/// takes longer to get than a message to copy. Any thread may drop a buffer, even one that outlives
/// the pool.
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
      buffer->clear();
      const std::lock_guard lock(mutex_);
      if (buffers_.size() < kMostBuffers) buffers_.push_back(std::move(buffer));
    }

   private:
    static constexpr std::size_t kMostBuffers = 2;  // beside the one that is read
    std::mutex mutex_;
    std::vector<std::unique_ptr<MessageBuffer>> buffers_;
  };

  std::shared_ptr<Spare> spare_ = std::make_shared<Spare>();
};

}  // namespace saccade::server
