#pragma once

#include <sstream>
#include <string>
#include <string_view>

#include "saccade/error.h"

namespace saccade {

template <typename... Parts>
[[noreturn]] void fail(std::string_view where, const Parts&... parts) {
  std::ostringstream message;
  message << '[' << where << "] ";
  (message << ... << parts);
  throw InvalidArgument(message.str());
}

}  // namespace saccade

/// Checks what a caller passed. Stays on in release builds: it runs when a file is loaded or a
/// graph is captured, never when the graph is replayed.
#define SACCADE_CHECK(condition, where, ...)               \
  do {                                                     \
    if (!(condition)) ::saccade::fail(where, __VA_ARGS__); \
  } while (false)
