#include "io/lerobot_config.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "core/check.h"
#include "io/feature_normalization.h"
#include "io/json.h"
#include "io/lerobot_processors.h"

namespace saccade::io {
namespace {

constexpr int kMaxFeatureLength = 4096;
constexpr char kNormalizer[] = "normalizer_processor";
constexpr char kUnnormalizer[] = "unnormalizer_processor";
constexpr char kRelative[] = "relative_actions_processor";
constexpr char kAbsolute[] = "absolute_actions_processor";
constexpr char kTokenizer[] = "tokenizer_processor";
constexpr char kRename[] = "rename_observations_processor";

/// Steps whose work is done here, or is the same for all checkpoints of a model.
constexpr std::array<std::string_view, 10> kKnownSteps = {
    kNormalizer,
    kUnnormalizer,
    kRelative,
    kAbsolute,
    kTokenizer,
    kRename,
    "to_batch_processor",
    "device_processor",
    "pi0_new_line_processor",
    "pi05_prepare_state_tokenizer_processor_step"};

/// Switches that change the network or what surrounds it in ways that are not implemented.
constexpr std::array<const char*, 5> kUnsupported = {
    "use_visual_memory", "use_proprioceptive_memory", "use_peft", "adapt_to_pi_aloha",
    "use_delta_joint_actions_aloha"};

std::string without_prefix(const std::string& feature) {
  for (std::string_view prefix : {"observation.images.", "observation."}) {
    if (feature.starts_with(prefix)) return feature.substr(prefix.size());
  }
  return feature;
}

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

template <typename List, typename Value>
bool contains(const List& list, const Value& value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

/// LeRobot's mask: an action is absolute when a part of its name is listed. Without names, or
/// beyond them, all are relative.
std::vector<bool> relative_mask(const std::vector<std::string>& names,
                                const std::vector<std::string>& absolute_parts, int action_dim) {
  std::vector<bool> mask(static_cast<std::size_t>(action_dim), true);
  for (std::size_t i = 0; i < std::min(mask.size(), names.size()); ++i) {
    mask[i] = std::none_of(absolute_parts.begin(), absolute_parts.end(), [&](const auto& part) {
      return !part.empty() && lower(names[i]).find(lower(part)) != std::string::npos;
    });
  }
  return mask;
}

Normalization kind_in(const Fields& map, const char* type) {
  const auto name = map.text(type);
  return name ? parse_normalization(*name, map.where()) : Normalization::kIdentity;
}

class Reader {
 public:
  Reader(const CheckpointFiles& files, const LoadOptions& options, PolicyConfig& config)
      : files_(files),
        options_(options),
        config_(config),
        json_(files.config.empty() ? Json::object() : read_json(files.config)),
        fields_(json_, files.config.string()),
        pre_(files.preprocessor),
        post_(files.postprocessor) {}

  void read() {
    read_model();
    read_features();
    read_tokenizer();
    read_relative_actions();
    read_normalization();
    warn_of_unknown_steps();
  }

 private:
  std::optional<int> integer(const char* name, int high) const {
    const auto value = fields_.integer(name, 1, high);
    return value ? std::optional<int>(static_cast<int>(*value)) : std::nullopt;
  }

  void read_model();
  void read_image_size();
  void read_features();
  void read_cameras(const Fields& features);
  std::optional<int> length_of(const std::vector<std::optional<Fields>>& places,
                               const char* feature) const;
  void read_tokenizer();
  void read_relative_actions();
  void read_normalization();
  std::optional<FeatureNormalization> read_feature(const ProcessorStep* step, const char* feature,
                                                   const char* type);
  std::optional<Normalization> kind_of(const ProcessorStep* step, const char* type) const;
  double eps_of(const ProcessorStep* step) const;
  FoundStatistics statistics_of(const ProcessorStep* step) const;
  void leave_state_as_lerobot_does(const ProcessorStep* step);
  void check_length(std::optional<FeatureNormalization>& feature, std::optional<int> length,
                    const char* name);
  void warn_of_unknown_steps();

  const CheckpointFiles& files_;
  const LoadOptions& options_;
  PolicyConfig& config_;
  Json json_;
  Fields fields_;
  ProcessorFile pre_;
  ProcessorFile post_;
};

void Reader::read_model() {
  if (const auto type = fields_.text("type")) {
    SACCADE_CHECK(*type == "pi0" || *type == "pi05", fields_.where(), "the policy type ",
                  quote(*type), " is not supported: Saccade runs pi0 and pi05");
    config_.model = *type == "pi0" ? Model::kPi0 : Model::kPi05;
  }
  if (options_.model) config_.model = options_.model;
  for (const char* name : kUnsupported) {
    SACCADE_CHECK(!fields_.boolean(name).value_or(false), fields_.where(), name,
                  " is set, which is not supported");
  }
  config_.chunk = integer("chunk_size", kMaxChunk).value_or(config_.chunk);
  // LeRobot's first version called the steps num_steps.
  const auto old_steps = integer("num_steps", kMaxSteps);
  config_.steps =
      integer("num_inference_steps", kMaxSteps).value_or(old_steps.value_or(config_.steps));
  config_.max_prompt_tokens = integer("tokenizer_max_length", kMaxPromptTokens);
  config_.min_period = fields_.number("min_period").value_or(config_.min_period);
  config_.max_period = fields_.number("max_period").value_or(config_.max_period);
  SACCADE_CHECK(config_.min_period > 0 && config_.min_period < config_.max_period, fields_.where(),
                "min_period must be above 0 and below max_period, got ", config_.min_period,
                " and ", config_.max_period);
  read_image_size();
}

void Reader::read_image_size() {
  for (const char* name : {"image_resolution", "resize_imgs_with_padding"}) {
    const Json* size = fields_.find(name);
    if (!size) continue;
    const bool is_square = size->is_array() && size->size() == 2 &&
                           (*size)[0].is_number_unsigned() && (*size)[0] == (*size)[1] &&
                           (*size)[0] >= 1 && (*size)[0] <= kMaxFeatureLength;
    if (!is_square) fields_.fail(name, "two equal extents from 1 to 4096");
    config_.image_size = (*size)[0].get<int>();
    return;
  }
}

void Reader::read_features() {
  const ProcessorStep* normalizer = pre_.find(kNormalizer);
  const ProcessorStep* unnormalizer = post_.find(kUnnormalizer);
  const auto inputs = fields_.object("input_features");
  const auto normalized = normalizer ? normalizer->config.object("features") : std::nullopt;
  const auto unnormalized = unnormalizer ? unnormalizer->config.object("features") : std::nullopt;
  if (inputs) read_cameras(*inputs);
  if (normalized && config_.cameras.empty()) read_cameras(*normalized);
  config_.state_dim = length_of({inputs, normalized}, kStateFeature);
  config_.action_dim =
      length_of({fields_.object("output_features"), unnormalized, normalized}, kActionFeature);
}

void Reader::read_cameras(const Fields& features) {
  std::map<std::string, std::string> robot_names;  // by what the model calls them
  if (const ProcessorStep* rename = pre_.find(kRename)) {
    if (const auto map = rename->config.object("rename_map")) {
      for (const auto& [robot_name, value] : map->json().items()) {
        robot_names.emplace(map->text(robot_name).value_or(robot_name), robot_name);
      }
    }
  }
  for (const auto& [name, value] : features.json().items()) {
    const auto feature = features.object(name);
    if (!feature) features.fail(name, "an object");
    // LeRobot's "empty" cameras are always masked, so the model does not miss them.
    if (feature->text("type") != "VISUAL" || without_prefix(name).starts_with("empty_camera_")) {
      continue;
    }
    const auto renamed = robot_names.find(name);
    const std::string shorter =
        without_prefix(renamed == robot_names.end() ? name : renamed->second);
    config_.cameras.push_back(name);
    config_.camera_names.push_back(contains(config_.camera_names, shorter) ? name : shorter);
  }
}

std::optional<int> Reader::length_of(const std::vector<std::optional<Fields>>& places,
                                     const char* feature) const {
  for (const auto& features : places) {
    const auto found = features ? features->object(feature) : std::nullopt;
    if (!found) continue;
    const Json* shape = found->find("shape");
    const bool is_vector = shape && shape->is_array() && shape->size() == 1 &&
                           (*shape)[0].is_number_unsigned() && (*shape)[0] >= 1 &&
                           (*shape)[0] <= kMaxFeatureLength;
    if (!is_vector) found->fail("shape", "one extent from 1 to 4096");
    return (*shape)[0].get<int>();
  }
  return std::nullopt;
}

void Reader::read_tokenizer() {
  const ProcessorStep* step = pre_.find(kTokenizer);
  if (!step) return;
  if (const auto length = step->config.integer("max_length", 1, kMaxPromptTokens)) {
    config_.max_prompt_tokens = static_cast<int>(*length);
  }
  const auto name = step->config.text("tokenizer_name");
  if (name && name->find("paligemma") == std::string::npos) {
    config_.warnings.push_back("the preprocessor asks for the tokenizer " + quote(*name) +
                               ", PaliGemma's is used");
  }
}

void Reader::read_relative_actions() {
  const ProcessorStep* relative = pre_.find(kRelative);
  const ProcessorStep* absolute = post_.find(kAbsolute);
  auto names = fields_.texts("action_feature_names");
  auto excluded =
      fields_.texts("relative_exclude_joints").value_or(std::vector<std::string>{"gripper"});
  bool enabled = fields_.boolean("use_relative_actions").value_or(false);
  if (relative || absolute) {
    enabled = absolute && absolute->config.boolean("enabled").value_or(false);
    const bool trained = relative && relative->config.boolean("enabled").value_or(false);
    SACCADE_CHECK(enabled == trained, files_.root.string(), kRelative, " and ", kAbsolute,
                  " of the processors must both be enabled or both not be");
    excluded.clear();
  }
  if (relative) {
    excluded = relative->config.texts("exclude_joints").value_or(excluded);
    const auto step_names = relative->config.texts("action_names");
    if (enabled || step_names) names = step_names;
  }
  const auto action_dim = config_.action_dim;
  if (names && action_dim && names->size() == static_cast<std::size_t>(*action_dim)) {
    config_.action_names = *names;
  }
  if (!enabled) return;
  SACCADE_CHECK(action_dim, files_.root.string(),
                "actions are relative to the state, but no file says how many there are");
  config_.relative_actions =
      relative_mask(names.value_or(std::vector<std::string>{}), excluded, *action_dim);
  if (!names && !excluded.empty()) {
    config_.warnings.push_back(
        "all actions are relative to the state, because the joints that are not cannot be told "
        "without action names");
  }
}

void Reader::read_normalization() {
  const ProcessorStep* normalizer = pre_.find(kNormalizer);
  const ProcessorStep* unnormalizer = post_.find(kUnnormalizer);
  config_.state = read_feature(normalizer, kStateFeature, "STATE");
  config_.actions =
      read_feature(unnormalizer ? unnormalizer : normalizer, kActionFeature, "ACTION");
  if (normalizer) leave_state_as_lerobot_does(normalizer);
  check_length(config_.state, config_.state_dim, kStateFeature);
  check_length(config_.actions, config_.action_dim, kActionFeature);
}

std::optional<FeatureNormalization> Reader::read_feature(const ProcessorStep* step,
                                                         const char* feature, const char* type) {
  const auto kind = kind_of(step, type);
  const double eps = eps_of(step);
  if (kind == Normalization::kIdentity) return FeatureNormalization{*kind, eps, {}};
  if (!kind) {
    config_.statistics_error = std::string("no file says how ") + feature + " is normalised";
    return std::nullopt;
  }
  auto found = find_feature(eps, statistics_of(step), feature, config_);
  set_kind(found, *kind, feature, config_);
  return found;
}

std::optional<Normalization> Reader::kind_of(const ProcessorStep* step, const char* type) const {
  if (step) {
    if (const auto map = step->config.object("norm_map")) return kind_in(*map, type);
  }
  if (const auto map = fields_.object("normalization_mapping")) return kind_in(*map, type);
  // The defaults of LeRobot's configuration classes.
  if (config_.model == Model::kPi0) return Normalization::kMeanStd;
  if (config_.model == Model::kPi05) return Normalization::kQuantiles;
  return std::nullopt;
}

double Reader::eps_of(const ProcessorStep* step) const {
  const auto eps = step ? step->config.number("eps") : std::nullopt;
  if (eps && !(*eps >= 0 && *eps <= 1)) step->config.fail("eps", "a number from 0 to 1");
  return config_.mode == Mode::kLerobot && eps ? *eps : default_eps(config_.mode);
}

FoundStatistics Reader::statistics_of(const ProcessorStep* step) const {
  if (!options_.statistics.empty()) return read_given_statistics(options_.statistics);
  if (step && !step->state_file.empty()) {
    return try_statistics([&] { return read_lerobot_statistics(files_.root / step->state_file); });
  }
  if (step) {
    return {{},
            "the step " + step->name + " of " + step->config.where() +
                " has no statistics file, pass one"};
  }
  FoundStatistics found;
  if (files_.weights.extension() == ".safetensors") {
    found = try_statistics([&] { return read_legacy_statistics(files_.weights); });
  }
  if (found.error.empty() && found.statistics.empty()) {
    found.error = files_.root.string() +
                  " has no processors with statistics, nor does the model file, pass a statistics "
                  "file";
  }
  return found;
}

/// LeRobot normalises only observations that the step lists.
void Reader::leave_state_as_lerobot_does(const ProcessorStep* step) {
  const auto keys = step->config.texts("normalize_observation_keys");
  const auto features = step->config.object("features");
  const bool chosen = !keys || contains(*keys, kStateFeature);
  const bool listed = !features || features->json().contains(kStateFeature);
  if (!chosen) {
    config_.state = FeatureNormalization{Normalization::kIdentity, eps_of(step), {}};
  } else if (!listed && config_.state && config_.state->kind != Normalization::kIdentity) {
    config_.state = FeatureNormalization{Normalization::kIdentity, eps_of(step), {}};
    config_.warnings.push_back(
        "the state is not normalised, because the preprocessor's features do not list it");
  }
}

void Reader::check_length(std::optional<FeatureNormalization>& feature, std::optional<int> length,
                          const char* name) {
  if (!feature || feature->statistics.empty() || !length) return;
  const std::size_t values = feature->statistics.begin()->second.size();
  if (values == static_cast<std::size_t>(*length)) return;
  feature.reset();
  config_.statistics_error = std::string(name) + " has statistics of " + std::to_string(values) +
                             " values, the configuration says " + std::to_string(*length);
}

void Reader::warn_of_unknown_steps() {
  for (const ProcessorFile* file : {&pre_, &post_}) {
    for (const ProcessorStep& step : file->steps()) {
      if (contains(kKnownSteps, step.name)) continue;
      config_.warnings.push_back("the processor step " + quote(step.name) + " is not run");
    }
  }
}

}  // namespace

void read_lerobot_config(const CheckpointFiles& files, const LoadOptions& options,
                         PolicyConfig& config) {
  Reader(files, options, config).read();
}

}  // namespace saccade::io
