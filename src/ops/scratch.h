#pragma once

#include <memory>

namespace saccade::ops::detail {

/// A Scratch of fixed size for each thread that asks, made on its first call and never resized.
/// It lives on the heap: thread_local storage of its size would come out of every thread's stack.
template <typename Scratch>
Scratch& thread_scratch() {
  thread_local const std::unique_ptr<Scratch> scratch(new Scratch);
  return *scratch;
}

}  // namespace saccade::ops::detail
