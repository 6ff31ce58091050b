#pragma once

#include <boost/beast/core/flat_buffer.hpp>
#include <cstddef>
#include <new>

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

}  // namespace saccade::server
