#include "io/statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "core/check.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace saccade::io {
namespace {

constexpr std::array<const char*, 5> kNormalizationNames = {"IDENTITY", "MEAN_STD", "MIN_MAX",
                                                            "QUANTILES", "QUANTILE10"};
constexpr std::array<std::string_view, 9> kStatistics = {"mean", "std", "min", "max", "q01",
                                                         "q10",  "q50", "q90", "q99"};

bool is_statistic(std::string_view name) {
  return std::find(kStatistics.begin(), kStatistics.end(), name) != kStatistics.end();
}

/// The state and the action are computed with, so they must be sound.
void check_vectors(const Statistics& statistics, std::string_view where) {
  for (const char* feature : {kStateFeature, kActionFeature}) {
    const auto found = statistics.find(feature);
    if (found == statistics.end() || found->second.empty()) continue;
    const auto& [first_name, first] = *found->second.begin();
    for (const auto& [name, values] : found->second) {
      SACCADE_CHECK(!values.empty(), where, feature, '.', name, " is empty");
      SACCADE_CHECK(values.size() == first.size(), where, feature, '.', name, " has ",
                    values.size(), " values, ", first_name, " has ", first.size());
      for (double value : values) {
        SACCADE_CHECK(std::isfinite(value), where, feature, '.', name, " holds a value of ", value);
        SACCADE_CHECK(name != "std" || value >= 0, where, feature, ".std holds the negative value ",
                      value);
      }
    }
  }
}

template <typename T>
std::vector<double> to_doubles(std::span<const std::byte> bytes) {
  std::vector<double> values(bytes.size() / sizeof(T));
  for (std::size_t i = 0; i < values.size(); ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    values[i] = value;
  }
  return values;
}

/// Adds a tensor when it is a statistic. Half-precision ones do not occur and are refused.
void add_tensor(const SafetensorsFile& file, const SafetensorsEntry& entry, std::string feature,
                const std::string& statistic, Statistics& statistics) {
  if (!is_statistic(statistic)) return;
  switch (entry.info.dtype) {
    case FileDType::kF32:
      statistics[feature][statistic] = to_doubles<float>(file.bytes(entry));
      return;
    case FileDType::kF64:
      statistics[feature][statistic] = to_doubles<double>(file.bytes(entry));
      return;
    case FileDType::kF16:
    case FileDType::kBf16:
      fail(file.path().string(), quote(entry.info.name), " is of type ", name_of(entry.info.dtype),
           ", statistics must be F32 or F64");
    default:
      return;
  }
}

std::vector<double> parse_numbers(const Fields& feature, const std::string& name) {
  const Json* field = feature.find(name);
  if (!field) return {};
  if (!field->is_array() || field->empty()) feature.fail(name, "a list of numbers");
  std::vector<double> values;
  for (const Json& value : *field) {
    if (!value.is_number()) feature.fail(name, "a list of numbers");
    values.push_back(value.get<double>());
  }
  return values;
}

const std::vector<double>& get(const FeatureStatistics& statistics, const std::string& name,
                               Normalization kind, std::string_view feature) {
  const auto found = statistics.find(name);
  SACCADE_CHECK(found != statistics.end(), feature, name_of(kind), " normalisation needs ", name,
                ", which the statistics do not have");
  return found->second;
}

}  // namespace

const char* name_of(Normalization kind) {
  return kNormalizationNames[static_cast<std::size_t>(kind)];
}

Normalization parse_normalization(std::string_view name, std::string_view where) {
  for (std::size_t i = 0; i < kNormalizationNames.size(); ++i) {
    if (name == kNormalizationNames[i]) return static_cast<Normalization>(i);
  }
  fail(where, "the normalisation ", quote(name), " is not known");
}

std::vector<std::string> required_statistics(Normalization kind) {
  switch (kind) {
    case Normalization::kIdentity:
      return {};
    case Normalization::kMeanStd:
      return {"mean", "std"};
    case Normalization::kMinMax:
      return {"min", "max"};
    case Normalization::kQuantiles:
      return {"q01", "q99"};
    case Normalization::kQuantile10:
      return {"q10", "q90"};
  }
  fail("statistics", "unknown normalisation");
}

Statistics parse_norm_stats(std::string_view json, std::string_view where) {
  const Json root = parse_json(json, where);
  const Fields file(root, std::string(where));
  const auto features = file.object("norm_stats");
  if (!features) file.fail("norm_stats", "an object");
  Statistics statistics;
  for (const auto& [name, value] : features->json().items()) {
    const auto feature = features->object(name);
    if (!feature) features->fail(name, "an object");
    const std::string canonical = name == "state"     ? kStateFeature
                                  : name == "actions" ? kActionFeature
                                                      : name;
    SACCADE_CHECK(!statistics.contains(canonical), where, "the feature ", quote(canonical),
                  " is there under two names");
    FeatureStatistics& vectors = statistics[canonical];
    for (std::string_view statistic : kStatistics) {
      const std::string key(statistic);
      auto values = parse_numbers(*feature, key);
      if (!values.empty()) vectors[key] = std::move(values);
    }
  }
  check_vectors(statistics, where);
  return statistics;
}

Statistics read_norm_stats(const std::filesystem::path& path) {
  return parse_norm_stats(read_text(path), path.string());
}

Statistics read_lerobot_statistics(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  Statistics statistics;
  for (const auto& [key, entry] : file.entries()) {
    const std::size_t dot = key.rfind('.');
    if (dot == std::string::npos) continue;
    add_tensor(file, entry, key.substr(0, dot), key.substr(dot + 1), statistics);
  }
  check_vectors(statistics, path.string());
  return statistics;
}

Statistics read_legacy_statistics(const std::filesystem::path& model_file) {
  struct Source {
    const char* prefix;
    const char* feature;
  };
  constexpr std::array<Source, 2> kSources = {
      {{"normalize_inputs.buffer_observation_state.", kStateFeature},
       {"unnormalize_outputs.buffer_action.", kActionFeature}}};
  const SafetensorsFile file(model_file);
  Statistics statistics;
  for (const auto& [prefix, feature] : kSources) {
    for (const auto& [key, entry] : file.entries()) {
      if (!key.starts_with(prefix)) continue;
      add_tensor(file, entry, feature, key.substr(std::strlen(prefix)), statistics);
    }
  }
  check_vectors(statistics, model_file.string());
  return statistics;
}

Scaling scaling(Normalization kind, const FeatureStatistics& statistics, double eps, bool openpi,
                Direction direction, bool single, std::string_view feature) {
  Scaling result;
  if (kind == Normalization::kIdentity) return result;
  SACCADE_CHECK(!openpi || kind == Normalization::kMeanStd || kind == Normalization::kQuantiles,
                feature, "openpi has no ", name_of(kind), " normalisation");
  const auto names = required_statistics(kind);
  const auto& low = get(statistics, names[0], kind, feature);
  const auto& high = get(statistics, names[1], kind, feature);
  SACCADE_CHECK(low.size() == high.size(), feature, names[0], " has ", low.size(), " values, ",
                names[1], " has ", high.size());

  const bool forward = direction == Direction::kForward;
  auto range_of = [&]<typename T>(T a, T b, T epsilon) -> T {
    if (kind == Normalization::kMeanStd) return openpi || forward ? b + epsilon : b;
    const T range = b - a;
    if (openpi) return range + epsilon;
    return range == 0 ? epsilon : range;
  };
  for (std::size_t i = 0; i < low.size(); ++i) {
    const double range = single ? range_of(static_cast<float>(low[i]), static_cast<float>(high[i]),
                                           static_cast<float>(eps))
                                : range_of(low[i], high[i], eps);
    const double center = single ? static_cast<float>(low[i]) : low[i];
    SACCADE_CHECK(std::isfinite(range) && std::isfinite(center), feature, "value ", i,
                  " has statistics that are too large");
    SACCADE_CHECK(!forward || range != 0, feature, "value ", i, " has a range of 0");
    result.center.push_back(center);
    result.range.push_back(range);
  }
  if (kind != Normalization::kMeanStd) {
    result.gain = 2;
    result.bias = -1;
  }
  return result;
}

}  // namespace saccade::io
