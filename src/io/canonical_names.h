#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace saccade::io {

/// The name that weight_source.h describes, from any of the layouts that openpi, LeRobot,
/// transformers and torch.compile have given the same tensor. A key of none of them stays as is.
std::string canonical_name(std::string_view key);

/// Canonical names of all of a checkpoint's keys, to those keys. The output embedding `lm_head`
/// stands in for a token embedding that was dropped as its duplicate. Fails, naming both, when
/// two keys mean one tensor.
std::map<std::string, std::string> canonical_names(const std::vector<std::string>& keys,
                                                   std::string_view where);

/// Pi0 calls "action_time_mlp_in.weight" what Pi0.5 calls "time_mlp_in.weight", and files of
/// either carry the other's name. The other one, or nothing when the name is neither.
std::optional<std::string> other_time_mlp_name(std::string_view canonical);

}  // namespace saccade::io
