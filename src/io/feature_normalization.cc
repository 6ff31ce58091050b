#include "io/feature_normalization.h"

namespace saccade::io {
namespace {

/// Keeps the first reason: it is the nearest to the cause.
void set_error(PolicyConfig& config, const std::string& error) {
  if (config.statistics_error.empty()) config.statistics_error = error;
}

}  // namespace

FoundStatistics read_given_statistics(const std::filesystem::path& path) {
  return {path.extension() == ".json" ? read_norm_stats(path) : read_lerobot_statistics(path), {}};
}

double default_eps(Mode mode) { return mode == Mode::kOpenpi ? 1e-6 : 1e-8; }

std::optional<FeatureNormalization> find_feature(double eps, const FoundStatistics& found,
                                                 const char* feature, PolicyConfig& config) {
  const auto statistics = found.statistics.find(feature);
  if (statistics != found.statistics.end()) {
    return FeatureNormalization{Normalization::kIdentity, eps, statistics->second};
  }
  set_error(config, found.error.empty() ? std::string("the statistics do not have the feature ") +
                                              feature + ", pass a statistics file that does"
                                        : found.error);
  return std::nullopt;
}

void set_kind(std::optional<FeatureNormalization>& feature, Normalization kind, const char* name,
              PolicyConfig& config) {
  if (!feature) return;
  feature->kind = kind;
  for (const std::string& statistic : required_statistics(kind)) {
    if (feature->statistics.contains(statistic)) continue;
    set_error(config, std::string(name) + " has no statistic " + statistic + ", which " +
                          name_of(kind) + " normalisation needs");
    feature.reset();
    return;
  }
}

void set_openpi_normalization(PolicyConfig& config, Model model) {
  if (!config.normalization_by_model) return;
  config.normalization_by_model = false;
  const auto kind = model == Model::kPi0 ? Normalization::kMeanStd : Normalization::kQuantiles;
  set_kind(config.state, kind, kStateFeature, config);
  set_kind(config.actions, kind, kActionFeature, config);
}

}  // namespace saccade::io
