#pragma once

#include "saccade/policy.h"

namespace saccade::cli {

/// A bar on the standard error, or nothing when that is no terminal.
Progress progress_bar();

}  // namespace saccade::cli
