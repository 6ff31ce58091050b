#include "capi/status.h"

#include <new>
#include <string>

#include "saccade/error.h"

namespace saccade::capi {
namespace {

struct LastError {
  std::string text;
  const char* message = "";
};

LastError& last_error() noexcept {
  thread_local LastError error;
  return error;
}

}  // namespace

void remember_error(std::string_view message) noexcept {
  LastError& error = last_error();
  try {
    error.text = message;
    error.message = error.text.c_str();
  } catch (...) {
    error.message = "out of memory, also for the sentence about what failed";
  }
}

const char* remembered_error() noexcept { return last_error().message; }

saccade_status handle_exception() noexcept {
  try {
    throw;
  } catch (const InvalidArgument& error) {
    remember_error(error.what());
    return SACCADE_INVALID_ARGUMENT;
  } catch (const DeviceError& error) {
    remember_error(error.what());
    return SACCADE_DEVICE_ERROR;
  } catch (const NotSupported& error) {
    remember_error(error.what());
    return SACCADE_NOT_SUPPORTED;
  } catch (const std::bad_alloc&) {
    remember_error("out of memory");
    return SACCADE_OUT_OF_MEMORY;
  } catch (const std::exception& error) {
    remember_error(error.what());
    return SACCADE_INTERNAL_ERROR;
  } catch (...) {
    remember_error("an exception of unknown type");
    return SACCADE_INTERNAL_ERROR;
  }
}

}  // namespace saccade::capi
