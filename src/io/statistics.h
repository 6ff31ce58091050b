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
/// All vectors of the state and of the action have one length, are finite and are not empty, and
/// no std is negative. Other features, such as images, are kept as the file has them.
using FeatureStatistics = std::map<std::string, std::vector<double>>;

inline constexpr const char* kStateFeature = "observation.state";
inline constexpr const char* kActionFeature = "action";

/// Feature to its statistics.
using Statistics = std::map<std::string, FeatureStatistics>;

/// openpi's norm_stats.json. Its "state" and "actions" become "observation.state" and "action".
Statistics parse_norm_stats(std::string_view json, std::string_view where);
Statistics read_norm_stats(const std::filesystem::path&);

/// LeRobot's normaliser state file: "<feature>.<statistic>" tensors of any rank, F32 or F64.
/// Tensors of integers, such as `count`, are left out.
Statistics read_lerobot_statistics(const std::filesystem::path&);

/// Statistics that LeRobot's first version kept inside the model file, such as
/// "normalize_inputs.buffer_observation_state.mean"; empty when there are none.
Statistics read_legacy_statistics(const std::filesystem::path& model_file);

/// The two statistics that a kind of normalisation needs: its center or low, and its std or high.
/// Empty for kIdentity.
std::vector<std::string> required_statistics(Normalization);

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
/// kIdentity gives empty vectors. `single` computes in f32, as LeRobot's tensors do. Fails when a
/// statistic is absent, when openpi does not know the kind, and on a forward range of 0.
Scaling scaling(Normalization, const FeatureStatistics&, double eps, bool openpi, Direction,
                bool single, std::string_view feature);

}  // namespace saccade::io
