#pragma once

#include <string>
#include <vector>

#include "saccade/policy.h"

namespace saccade::cli {

/// An SVG line chart of every action dimension over the chunk, readable on light and dark pages.
/// `names` has one name per dimension. Values are finite.
std::string plot_actions(const ActionChunk&, const std::vector<std::string>& names,
                         const std::string& title);

}  // namespace saccade::cli
