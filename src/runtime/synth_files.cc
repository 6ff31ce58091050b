#include "runtime/synth_files.h"

#include <nlohmann/json.hpp>

#include "runtime/synth_random.h"
#include "runtime/synth_tensors.h"

namespace saccade {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kMaxDim = 32;
constexpr int kSteps = 10;
const char* const kUnnormalizer = "policy_postprocessor_step_0_unnormalizer_processor.safetensors";

int max_prompt_tokens(Model model) { return model == Model::kPi0 ? 48 : 200; }

Json action_names() {
  Json names = Json::array();
  for (const char* side : {"left", "right"}) {
    for (const char* joint :
         {"waist", "shoulder", "elbow", "forearm", "wrist_angle", "wrist_rotate", "gripper"}) {
      names.push_back(std::string(side) + "_" + joint);
    }
  }
  return names;
}

std::string camera_name(int index) {
  switch (index) {
    case 0:
      return "front";
    case 1:
      return "wrist";
    default:
      return "camera" + std::to_string(index);
  }
}

Json input_features(const SynthOptions& options) {
  const int size = synth_image_size(options.size);
  Json features = Json::object();
  for (int i = 0; i < options.cameras; ++i) {
    features["observation.images." + camera_name(i)] = {{"type", "VISUAL"},
                                                        {"shape", {3, size, size}}};
  }
  features["observation.state"] = {{"type", "STATE"}, {"shape", {kSynthDim}}};
  return features;
}

Json output_features() { return {{"action", {{"type", "ACTION"}, {"shape", {kSynthDim}}}}}; }

Json normalization(Model model) {
  const char* kind = model == Model::kPi0 ? "MEAN_STD" : "QUANTILES";
  return {{"VISUAL", "IDENTITY"}, {"STATE", kind}, {"ACTION", kind}};
}

Json lerobot_config(const SynthOptions& options) {
  const int size = synth_image_size(options.size);
  return {{"type", name_of(options.model)},
          {"n_obs_steps", 1},
          {"input_features", input_features(options)},
          {"output_features", output_features()},
          {"dtype", "bfloat16"},
          {"paligemma_variant", "gemma_2b"},
          {"action_expert_variant", "gemma_300m"},
          {"chunk_size", synth_chunk(options.size)},
          {"n_action_steps", synth_chunk(options.size)},
          {"max_state_dim", kMaxDim},
          {"max_action_dim", kMaxDim},
          {"num_inference_steps", kSteps},
          {"min_period", 0.004},
          {"max_period", 4.0},
          {"use_relative_actions", false},
          {"action_feature_names", action_names()},
          {"image_resolution", {size, size}},
          {"empty_cameras", 0},
          {"tokenizer_max_length", max_prompt_tokens(options.model)},
          {"normalization_mapping", normalization(options.model)}};
}

Json step(const char* name, Json config, const std::string& state_file = "") {
  Json result = {{"registry_name", name}, {"config", std::move(config)}};
  if (!state_file.empty()) result["state_file"] = state_file;
  return result;
}

std::string normalizer_file(Model model) {
  return "policy_preprocessor_step_" + std::string(model == Model::kPi0 ? "6" : "3") +
         "_normalizer_processor.safetensors";
}

Json preprocessor(const SynthOptions& options) {
  Json features = input_features(options);
  features.update(output_features());
  const Json none = Json::object();
  const Json tokenizer =
      step("tokenizer_processor", {{"max_length", max_prompt_tokens(options.model)},
                                   {"task_key", "task"},
                                   {"padding_side", "right"},
                                   {"padding", "max_length"},
                                   {"truncation", true},
                                   {"tokenizer_name", "google/paligemma-3b-pt-224"}});
  const Json device = step("device_processor", {{"device", "cpu"}, {"float_dtype", nullptr}});
  const Json relative =
      step("relative_actions_processor",
           {{"enabled", false}, {"exclude_joints", {"gripper"}}, {"action_names", action_names()}});
  const Json normalizer =
      step("normalizer_processor",
           {{"eps", 1e-8}, {"features", features}, {"norm_map", normalization(options.model)}},
           normalizer_file(options.model));
  Json steps = {step("rename_observations_processor", {{"rename_map", none}}),
                step("to_batch_processor", none)};
  const auto append = [&steps](const Json& more) {
    steps.insert(steps.end(), more.begin(), more.end());
  };
  if (options.model == Model::kPi0) {
    append({step("pi0_new_line_processor", none), tokenizer, device, relative, normalizer});
  } else {
    append({relative, normalizer, step("pi05_prepare_state_tokenizer_processor_step", none),
            tokenizer, device});
  }
  return {{"name", "policy_preprocessor"}, {"steps", steps}};
}

Json postprocessor(const SynthOptions& options) {
  const Json unnormalizer = step(
      "unnormalizer_processor",
      {{"eps", 1e-8}, {"features", output_features()}, {"norm_map", normalization(options.model)}},
      kUnnormalizer);
  const Json steps = {unnormalizer, step("absolute_actions_processor", {{"enabled", false}}),
                      step("device_processor", {{"device", "cpu"}, {"float_dtype", nullptr}})};
  return {{"name", "policy_postprocessor"}, {"steps", steps}};
}

Json openpi_config(SynthSize size) {
  return {{"action_dim", kMaxDim},
          {"action_horizon", synth_chunk(size)},
          {"paligemma_variant", "gemma_2b"},
          {"action_expert_variant", "gemma_300m"},
          {"precision", "bfloat16"}};
}

Json norm_stats(const io::Statistics& statistics) {
  Json features = Json::object();
  for (const auto& [ours, theirs] :
       {std::pair{"observation.state", "state"}, std::pair{"action", "actions"}}) {
    for (const char* name : {"mean", "std", "q01", "q99"}) {
      features[theirs][name] = statistics.at(ours).at(name);
    }
  }
  return {{"norm_stats", features}};
}

}  // namespace

io::Statistics synth_statistics(std::uint64_t seed) {
  // Distances from the mean in standard deviations, as a normal distribution has them.
  const std::pair<const char*, double> marks[] = {
      {"min", -3.5}, {"q01", -2.33}, {"q10", -1.28}, {"q50", 0},
      {"q90", 1.28}, {"q99", 2.33},  {"max", 3.5},
  };
  io::Statistics statistics;
  for (const char* feature : {"observation.state", "action"}) {
    std::vector<float> mean(kSynthDim);
    std::vector<float> std(kSynthDim);
    RandomTensor(seed, std::string(feature) + ".mean", 0.0F, 0.5F).fill(0, std::span(mean));
    RandomTensor(seed, std::string(feature) + ".std", 0.8F, 0.1F).fill(0, std::span(std));
    io::FeatureStatistics& values = statistics[feature];
    values["mean"] = {mean.begin(), mean.end()};
    values["std"] = {std.begin(), std.end()};
    for (const auto& [name, distance] : marks) {
      for (int i = 0; i < kSynthDim; ++i) {
        const auto j = static_cast<std::size_t>(i);
        values[name].push_back(static_cast<float>(mean[j] + distance * std[j]));
      }
    }
  }
  return statistics;
}

std::map<std::string, std::string> synth_files(const SynthOptions& options,
                                               const io::Statistics& statistics) {
  std::map<std::string, Json> files;
  if (options.layout == SynthLayout::kLerobot) {
    files = {{"config.json", lerobot_config(options)},
             {"policy_preprocessor.json", preprocessor(options)},
             {"policy_postprocessor.json", postprocessor(options)}};
  } else {
    files = {{"config.json", openpi_config(options.size)},
             {"assets/synth/norm_stats.json", norm_stats(statistics)}};
  }
  std::map<std::string, std::string> texts;
  for (const auto& [name, json] : files) texts[name] = json.dump(2) + "\n";
  return texts;
}

std::vector<std::string> synth_statistics_files(const SynthOptions& options) {
  if (options.layout == SynthLayout::kOpenpi) return {};
  return {normalizer_file(options.model), kUnnormalizer};
}

}  // namespace saccade
