#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "saccade/policy.h"

namespace saccade::cli {

/// The checkpoint's names of the action's dimensions, or their indices.
std::vector<std::string> column_names(const PolicyInfo&, const ActionChunk&);

/// Print the actions, the time of each stage and what the policy is.
void print_chunk(const PolicyInfo&, const ActionChunk&, const std::vector<std::string>& names);
void print_chunk_json(const PolicyInfo&, const ActionChunk&, const std::vector<std::string>& names,
                      std::uint64_t seed);

}  // namespace saccade::cli
