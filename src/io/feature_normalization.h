#pragma once

#include <filesystem>
#include <string_view>

#include "io/policy_config.h"

namespace saccade::io {

/// Where a feature's statistics are, or why they are not.
struct FoundStatistics {
  Statistics statistics;
  std::string error;  // one sentence, or empty
};

/// Statistics that a user names: a norm_stats.json if it ends in .json, else a LeRobot file.
FoundStatistics read_given_statistics(const std::filesystem::path&);

/// Calls `read` and turns its failure into the error of what is found: statistics of a checkpoint
/// that cannot be used are no reason not to look at its other parts.
template <typename Read>
FoundStatistics try_statistics(const Read& read) {
  try {
    return {read(), {}};
  } catch (const InvalidArgument& error) {
    return {{}, error.what()};
  }
}

/// eps of the reference whose preprocessing is followed.
double default_eps(Mode);

/// The statistics of a feature, of a kind that is yet to be set; or nothing, and the reason in
/// config.statistics_error.
std::optional<FeatureNormalization> find_feature(double eps, const FoundStatistics&,
                                                 const char* feature, PolicyConfig& config);

/// Sets the kind of a feature; takes the feature away, with the reason in
/// config.statistics_error, when it lacks statistics that the kind needs.
void set_kind(std::optional<FeatureNormalization>&, Normalization, const char* feature,
              PolicyConfig& config);

}  // namespace saccade::io
