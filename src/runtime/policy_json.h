#pragma once

#include <nlohmann/json_fwd.hpp>

#include "saccade/policy.h"

namespace saccade {

/// What a policy is and expects, by the names of PolicyInfo.
nlohmann::ordered_json to_json(const PolicyInfo&);

}  // namespace saccade
