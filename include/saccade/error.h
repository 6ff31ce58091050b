#pragma once

#include <stdexcept>

namespace saccade {

/// The caller broke a documented contract: a wrong shape, type, file, key or option.
/// The message is one sentence that names it: "[where] what must hold, what was given".
class InvalidArgument : public std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

/// The GPU or its driver is missing, too small, too old or has failed. Never the caller's fault.
class DeviceError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace saccade
