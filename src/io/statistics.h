#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace saccade::io {

/// LeRobot's NormalizationMode. openpi's z-score is kMeanStd, its quantile form kQuantiles.
enum class Normalization { kIdentity, kMeanStd, kMinMax, kQuantiles, kQuantile10 };

const char* name_of(Normalization);  // "MEAN_STD"
Normalization parse_normalization(std::string_view name, std::string_view where);

/// Statistics of one feature by name: mean, std, min, max, q01, q10, q50, q90, q99.
/// All vectors of one feature have one length and finite values.
using FeatureStatistics = std::map<std::string, std::vector<double>>;

/// Feature ("observation.state", "action") to its statistics.
using Statistics = std::map<std::string, FeatureStatistics>;

/// openpi's norm_stats.json. Its "state" and "actions" become "observation.state" and "action".
Statistics parse_norm_stats(std::string_view json, std::string_view where);
Statistics read_norm_stats(const std::filesystem::path&);

/// LeRobot's normaliser state file: "<feature>.<statistic>" tensors.
Statistics read_lerobot_statistics(const std::filesystem::path&);

/// normalised = (raw - center) / range * gain + bias
struct Scaling {
  std::vector<double> center;
  std::vector<double> range;
  double gain = 1;
  double bias = 0;
};

enum class Direction { kForward, kInverse };

/// The scaling of a kind of normalisation, with each reference's own treatment of eps:
///   openpi   MEAN_STD   range = std + eps, both ways
///            QUANTILES  range = q99 - q01 + eps, gain 2, bias -1
///   lerobot  MEAN_STD   range = std + eps forward, std inverse
///            others     range = high - low, or eps where that is 0; gain 2, bias -1
/// `single` computes in f32, as LeRobot's tensors do. Fails when a statistic is absent.
Scaling scaling(Normalization, const FeatureStatistics&, double eps, bool openpi, Direction,
                bool single, std::string_view feature);

}  // namespace saccade::io
