#pragma once

#include <stdexcept>
#include <string_view>

#include "saccade.h"

namespace saccade::capi {

/// A valid wish that this library cannot fulfil.
class NotSupported : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Keeps the sentence for saccade_error_message() of this thread.
void remember_error(std::string_view message) noexcept;

const char* remembered_error() noexcept;

/// The status of the exception that is being handled, whose sentence is remembered.
saccade_status handle_exception() noexcept;

/// Runs the body of a function of the C interface: no exception leaves it.
template <typename Body>
saccade_status guarded(Body body) noexcept {
  try {
    body();
    return SACCADE_OK;
  } catch (...) {
    return handle_exception();
  }
}

}  // namespace saccade::capi
