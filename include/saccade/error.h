#pragma once

#include <stdexcept>

namespace saccade {

/// The caller broke a documented contract: a wrong shape, type, file, key or option.
/// The message is one sentence that names it: "[where] what must hold, what was given".
class InvalidArgument : public std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

}  // namespace saccade
