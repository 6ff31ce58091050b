#pragma once

#include <functional>
#include <string>

#include "saccade/tensor.h"

namespace saccade::models {

/// Sees a stage's result right after it is computed. Not given outside of verification. What a
/// tower computes between its stages is called "inside.", the same in every layer.
using Probe = std::function<void(const std::string& stage, Tensor)>;

}  // namespace saccade::models
