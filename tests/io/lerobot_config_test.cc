#include <gtest/gtest.h>

#include <array>
#include <limits>

#include "io/json.h"
#include "io/policy_config.h"
#include "io/safetensors.h"
#include "temp_files.h"

namespace saccade::io {
namespace {

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

Json config_json() {
  return Json::parse(R"({
    "type": "pi0", "chunk_size": 20, "num_inference_steps": 5, "tokenizer_max_length": 48,
    "min_period": 0.01, "max_period": 2, "image_resolution": [224, 224], "empty_cameras": 1,
    "input_features": {
      "observation.images.wrist": {"type": "VISUAL", "shape": [3, 480, 640]},
      "observation.images.base": {"type": "VISUAL", "shape": [3, 480, 640]},
      "observation.images.empty_camera_0": {"type": "VISUAL", "shape": [3, 224, 224]},
      "observation.state": {"type": "STATE", "shape": [2]}},
    "output_features": {"action": {"type": "ACTION", "shape": [3]}},
    "normalization_mapping": {"VISUAL": "IDENTITY", "STATE": "MIN_MAX", "ACTION": "IDENTITY"}})");
}

Json preprocessor() {
  return Json::parse(R"({"name": "policy_preprocessor", "steps": [
    {"registry_name": "rename_observations_processor", "config": {"rename_map": {}}},
    {"registry_name": "relative_actions_processor",
     "config": {"enabled": false, "exclude_joints": ["Grip"], "action_names": null}},
    {"registry_name": "tokenizer_processor",
     "config": {"max_length": 30, "tokenizer_name": "google/paligemma-3b-pt-224"}},
    {"registry_name": "normalizer_processor",
     "config": {"eps": 1e-5, "norm_map": {"STATE": "QUANTILES", "ACTION": "MEAN_STD"},
                "features": {"observation.state": {"type": "STATE", "shape": [2]}}},
     "state_file": "pre.safetensors"}]})");
}

Json postprocessor() {
  return Json::parse(R"({"name": "policy_postprocessor", "steps": [
    {"registry_name": "unnormalizer_processor",
     "config": {"eps": 1e-8, "norm_map": {"ACTION": "MEAN_STD"}, "features": {}},
     "state_file": "post.safetensors"},
    {"registry_name": "absolute_actions_processor", "config": {"enabled": false}}]})");
}

class LerobotConfig : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_.write("model.safetensors", safetensors_bytes("{}", 0));
    write_statistics("pre.safetensors", {{"observation.state.q01", {1, 2}},
                                         {"observation.state.q99", {3, 4}},
                                         {"observation.state.min", {0, 0}},
                                         {"observation.state.max", {9, 9}}});
    write_statistics("post.safetensors", {{"action.mean", {1, 2, 3}}, {"action.std", {4, 5, 6}}});
  }

  void write_statistics(const std::string& name,
                        const std::map<std::string, std::vector<float>>& values) const {
    std::vector<WeightInfo> infos;
    for (const auto& [key, list] : values) {
      infos.push_back({key, FileDType::kF32, {static_cast<std::int64_t>(list.size())}});
    }
    write_safetensors(directory_.path() / name, {}, infos,
                      [&](const WeightInfo& info, const ByteSink& sink) {
                        sink(std::as_bytes(std::span(values.at(info.name))));
                      });
  }

  PolicyConfig read(const LoadOptions& options = {}) const {
    const std::array<std::pair<const char*, const Json*>, 3> files = {
        {{"config.json", &config_},
         {"policy_preprocessor.json", &pre_},
         {"policy_postprocessor.json", &post_}}};
    for (const auto& [name, json] : files) {
      fs::remove(directory_.path() / name);
      if (!json->is_null()) directory_.write(name, json->dump());
    }
    return read_policy_config(find_checkpoint(directory_.path()), options);
  }
  std::string error(const LoadOptions& options = {}) const {
    return error_of([&] { read(options); });
  }
  Json& step(Json& file, int index) { return file["steps"][static_cast<std::size_t>(index)]; }
  Json& normalizer() { return step(pre_, 3); }

  const TempDirectory directory_;
  Json config_ = config_json();
  Json pre_ = preprocessor();
  Json post_ = postprocessor();
};

TEST_F(LerobotConfig, ReadsAllFiles) {
  const PolicyConfig config = read();
  EXPECT_EQ(config.model, Model::kPi0);
  EXPECT_EQ(config.mode, Mode::kLerobot);
  EXPECT_EQ(config.chunk, 20);
  EXPECT_EQ(config.steps, 5);
  EXPECT_EQ(config.max_prompt_tokens, 30);
  EXPECT_EQ(config.min_period, 0.01);
  EXPECT_EQ(config.max_period, 2);
  EXPECT_EQ(config.image_size, 224);
  EXPECT_EQ(config.cameras, (Names{"observation.images.wrist", "observation.images.base"}));
  EXPECT_EQ(config.camera_names, (Names{"wrist", "base"}));
  EXPECT_EQ(config.state_dim, 2);
  EXPECT_EQ(config.action_dim, 3);
  EXPECT_TRUE(config.relative_actions.empty());
  ASSERT_TRUE(config.state && config.actions);
  EXPECT_EQ(config.state->kind, Normalization::kQuantiles);
  EXPECT_EQ(config.state->eps, 1e-5);
  EXPECT_EQ(config.state->statistics.at("q99"), (std::vector<double>{3, 4}));
  EXPECT_EQ(config.actions->kind, Normalization::kMeanStd);
  EXPECT_EQ(config.actions->eps, 1e-8);
  EXPECT_EQ(config.actions->statistics.at("std"), (std::vector<double>{4, 5, 6}));
  EXPECT_EQ(config.statistics_error, "");
  EXPECT_TRUE(config.warnings.empty());
  EXPECT_FALSE(config.normalization_by_model);
}

TEST_F(LerobotConfig, RefusesOtherPoliciesAndSwitches) {
  for (const char* type : {"pi0_fast", "smolvla", "act", "PI0", ""}) {
    config_["type"] = type;
    EXPECT_TRUE(contains(error(), "config.json] the policy type '" + std::string(type) +
                                      "' is not supported: Saccade runs pi0 and pi05"));
  }
  config_["type"] = "pi05";
  EXPECT_EQ(read().model, Model::kPi05);
  for (const char* name : {"use_visual_memory", "use_proprioceptive_memory", "use_peft",
                           "adapt_to_pi_aloha", "use_delta_joint_actions_aloha"}) {
    config_[name] = false;
    EXPECT_EQ(error(), "no error");
    config_[name] = true;
    EXPECT_TRUE(contains(error(), std::string(name) + " is set, which is not supported"));
    config_.erase(name);
  }
}

TEST_F(LerobotConfig, NamesTheFieldOfAWrongType) {
  struct Case {
    const char* field;
    const char* value;
    const char* message;
  };
  const std::vector<Case> cases = {
      {"chunk_size", "\"50\"", "chunk_size must be an integer from 1 to 1000, got \"50\""},
      {"chunk_size", "0", "chunk_size must be an integer from 1 to 1000, got 0"},
      {"chunk_size", "-9223372036854775808", "chunk_size must be an integer"},
      {"chunk_size", "18446744073709551615", "chunk_size must be an integer"},
      {"num_inference_steps", "1.5", "num_inference_steps must be an integer from 1 to 1000"},
      {"tokenizer_max_length", "5000", "tokenizer_max_length must be an integer from 1 to 4096"},
      {"min_period", "\"a\"", "min_period must be a number, got \"a\""},
      {"min_period", "0", "min_period must be above 0 and below max_period, got 0 and 2"},
      {"max_period", "0.01", "min_period must be above 0 and below max_period"},
      {"image_resolution", "[224,225]", "image_resolution must be two equal extents"},
      {"image_resolution", "[224]", "image_resolution must be two equal extents"},
      {"image_resolution", "[-1,-1]", "image_resolution must be two equal extents"},
      {"image_resolution", "224", "image_resolution must be two equal extents"},
      {"input_features", "[]", "input_features must hold a JSON object, got array"},
      {"input_features", "{\"a\":1}", "input_features.a must hold a JSON object, got number"},
      {"input_features", "{\"a\":null}", "input_features.a must be an object, got null"},
      {"input_features", "{\"a\":{\"type\":1}}", "input_features.a.type must be a string, got 1"},
      {"output_features", "{\"action\":{\"shape\":[3,3]}}",
       "output_features.action.shape must be one extent from 1 to 4096, got [3,3]"},
      {"output_features", "{\"action\":{}}",
       "output_features.action.shape must be one extent from 1 to 4096, got nothing"},
      {"use_relative_actions", "1", "use_relative_actions must be true or false, got 1"},
      {"action_feature_names", "[1]", "action_feature_names must be a list of strings, got [1]"},
  };
  for (const Case& c : cases) {
    config_ = config_json();
    config_[c.field] = Json::parse(c.value);
    EXPECT_TRUE(contains(error(), "config.json] " + std::string(c.message))) << c.value;
  }
}

TEST_F(LerobotConfig, HasLerobotsDefaults) {
  config_ = Json{{"type", "pi05"}};
  pre_ = post_ = nullptr;
  const PolicyConfig config = read();
  EXPECT_EQ(config.chunk, 50);
  EXPECT_EQ(config.steps, 10);
  EXPECT_FALSE(config.max_prompt_tokens);
  EXPECT_FALSE(config.image_size);
  EXPECT_TRUE(config.cameras.empty());
  EXPECT_FALSE(config.state || config.actions);
  EXPECT_TRUE(contains(config.statistics_error, "has no processors with statistics"));
}

TEST_F(LerobotConfig, ReadsTheFirstVersionsFields) {
  config_ = Json::parse(R"({"type":"pi0","num_steps":7,"resize_imgs_with_padding":[112,112]})");
  EXPECT_EQ(read().steps, 7);
  EXPECT_EQ(read().image_size, 112);
}

TEST_F(LerobotConfig, TakesRenamedCamerasByEitherName) {
  step(pre_, 0)["config"]["rename_map"] = {
      {"observation.images.front", "observation.images.base"},
      {"observation.images.other", "observation.images.absent"}};
  EXPECT_EQ(read().cameras, (Names{"observation.images.wrist", "observation.images.base"}));
  EXPECT_EQ(read().camera_names, (Names{"wrist", "front"}));
  step(pre_, 0)["config"]["rename_map"]["observation.images.wrist"] = "observation.images.base";
  EXPECT_EQ(read().camera_names, (Names{"wrist", "front"}));
  step(pre_, 0)["config"]["rename_map"] = {{"observation.images.wrist", "observation.images.base"}};
  EXPECT_EQ(read().camera_names, (Names{"wrist", "observation.images.base"}));
  step(pre_, 0)["config"]["rename_map"]["a"] = 5;
  EXPECT_TRUE(contains(error(), "steps[0].config.rename_map.a must be a string, got 5"));
}

TEST_F(LerobotConfig, FindsStepsByClassAndRefusesDoubledOnes) {
  normalizer().erase("registry_name");
  normalizer()["class"] = "lerobot.processor.normalize_processor.NormalizerProcessorStep";
  step(post_, 0).erase("registry_name");
  step(post_, 0)["class"] = "UnnormalizerProcessorStep";
  EXPECT_EQ(read().state->kind, Normalization::kQuantiles);
  EXPECT_EQ(read().actions->statistics.at("mean")[2], 3);
  EXPECT_TRUE(read().warnings.empty());
  pre_["steps"].push_back(preprocessor()["steps"][3]);
  EXPECT_TRUE(contains(error(), "there is more than one step 'normalizer_processor'"));
  pre_ = preprocessor();
  pre_["steps"].push_back({{"registry_name", "my_crop"}});
  pre_["steps"].push_back({{"class", "mine.MyStep"}});
  EXPECT_EQ(read().warnings, (Names{"the processor step 'my_crop' is not run",
                                    "the processor step 'MyStep' is not run"}));
  pre_["steps"].push_back(Json::object());
  EXPECT_TRUE(contains(error(), "steps[6].registry_name must be the name of a step, got nothing"));
  pre_["steps"] = 5;
  EXPECT_TRUE(contains(error(), "policy_preprocessor.json] steps must be a list of objects"));
}

TEST_F(LerobotConfig, FallsBackToTheConfigsNormalization) {
  normalizer()["config"].erase("norm_map");
  EXPECT_EQ(read().state->kind, Normalization::kMinMax);
  config_.erase("normalization_mapping");
  EXPECT_TRUE(contains(read().statistics_error, "observation.state has no statistic mean"));
  config_["type"] = "pi05";
  EXPECT_EQ(read().state->kind, Normalization::kQuantiles);
  config_ = nullptr;
  EXPECT_EQ(read().statistics_error, "no file says how observation.state is normalised");
  EXPECT_FALSE(read().state);
  EXPECT_TRUE(read().actions);
  normalizer()["config"]["norm_map"] = {{"ACTION", "MEAN_STD"}};
  EXPECT_EQ(read().state->kind, Normalization::kIdentity);
  normalizer()["config"]["norm_map"] = {{"STATE", "HALF"}};
  EXPECT_TRUE(contains(error(), "the normalisation 'HALF' is not known"));
}

TEST_F(LerobotConfig, DoesNotTakeMissingStatisticsForIdentity) {
  normalizer().erase("state_file");
  EXPECT_FALSE(read().state);
  EXPECT_TRUE(contains(read().statistics_error, "policy_preprocessor.json has no statistics file"));
  EXPECT_TRUE(read().actions);
  normalizer()["config"]["norm_map"]["STATE"] = "IDENTITY";
  EXPECT_EQ(read().state->kind, Normalization::kIdentity);
  EXPECT_EQ(read().statistics_error, "");

  normalizer() = preprocessor()["steps"][3];
  normalizer()["state_file"] = "post.safetensors";
  EXPECT_EQ(read().statistics_error,
            "the statistics do not have the feature observation.state, pass a statistics file that "
            "does");
  normalizer()["state_file"] = "absent.safetensors";
  EXPECT_TRUE(
      contains(read().statistics_error, "absent.safetensors] the file could not be opened"));
  normalizer()["config"]["norm_map"]["STATE"] = "QUANTILE10";
  normalizer()["state_file"] = "pre.safetensors";
  EXPECT_EQ(read().statistics_error,
            "observation.state has no statistic q10, which QUANTILE10 normalisation needs");
  normalizer()["state_file"] = "../pre.safetensors";
  EXPECT_TRUE(contains(error(), "steps[3].state_file must be the name of a file in the same"));
}

TEST_F(LerobotConfig, ComparesStatisticsWithTheConfiguration) {
  config_["input_features"]["observation.state"]["shape"] = {32};
  EXPECT_FALSE(read().state);
  EXPECT_EQ(read().statistics_error,
            "observation.state has statistics of 2 values, the configuration says 32");
}

TEST_F(LerobotConfig, LeavesOutObservationsThatAreNotListed) {
  normalizer()["config"]["normalize_observation_keys"] = {"observation.images.base"};
  EXPECT_EQ(read().state->kind, Normalization::kIdentity);
  EXPECT_TRUE(read().warnings.empty());
  normalizer()["config"]["normalize_observation_keys"] = {"observation.state"};
  EXPECT_EQ(read().state->kind, Normalization::kQuantiles);
  normalizer()["config"]["features"] = Json::object();
  EXPECT_EQ(read().state->kind, Normalization::kIdentity);
  EXPECT_EQ(read().warnings.size(), 1u);
  normalizer().erase("state_file");
  EXPECT_FALSE(read().state);
}

TEST_F(LerobotConfig, ChecksEps) {
  normalizer()["config"]["eps"] = -1;
  EXPECT_TRUE(contains(error(), "steps[3].config.eps must be a number from 0 to 1, got -1"));
  normalizer()["config"].erase("eps");
  EXPECT_EQ(read().state->eps, 1e-8);
  LoadOptions options;
  options.mode = Mode::kOpenpi;
  normalizer()["config"]["eps"] = 0.5;
  EXPECT_EQ(read(options).state->eps, 1e-6);
  EXPECT_EQ(read(options).mode, Mode::kOpenpi);
}

TEST_F(LerobotConfig, MasksRelativeActionsAsTheProcessorDoes) {
  Json& relative = step(pre_, 1)["config"];
  relative["enabled"] = true;
  EXPECT_TRUE(contains(error(), "must both be enabled or both not be"));
  step(post_, 1)["config"]["enabled"] = true;
  EXPECT_EQ(read().relative_actions, (std::vector<bool>{1, 1, 1}));
  EXPECT_EQ(read().warnings.size(), 1u);
  relative["action_names"] = {"x.pos", "left_GRIPPER.pos", "y"};
  EXPECT_EQ(read().relative_actions, (std::vector<bool>{1, 0, 1}));
  EXPECT_EQ(read().action_names, (Names{"x.pos", "left_GRIPPER.pos", "y"}));
  relative["action_names"] = {"grip"};
  EXPECT_EQ(read().relative_actions, (std::vector<bool>{0, 1, 1}));
  EXPECT_TRUE(read().action_names.empty());
  relative["exclude_joints"] = {""};
  EXPECT_EQ(read().relative_actions, (std::vector<bool>{1, 1, 1}));
  relative["exclude_joints"] = Json::array();
  EXPECT_EQ(read().relative_actions, (std::vector<bool>{1, 1, 1}));
  config_.erase("output_features");
  EXPECT_TRUE(contains(error(), "no file says how many there are"));
}

TEST_F(LerobotConfig, TakesRelativeActionsOfConfigJsonWithoutProcessorSteps) {
  pre_["steps"].erase(1);
  post_["steps"].erase(1);
  config_["use_relative_actions"] = true;
  config_["action_feature_names"] = {"a", "b", "gripper"};
  EXPECT_EQ(read().relative_actions, (std::vector<bool>{1, 1, 0}));
  config_["relative_exclude_joints"] = {"A"};
  EXPECT_EQ(read().relative_actions, (std::vector<bool>{0, 1, 1}));
  config_["use_relative_actions"] = false;
  EXPECT_TRUE(read().relative_actions.empty());
  EXPECT_EQ(read().action_names, (Names{"a", "b", "gripper"}));
}

TEST_F(LerobotConfig, TakesStatisticsThatAreGiven) {
  LoadOptions options;
  options.statistics =
      directory_.write("norm_stats.json", R"({"norm_stats":{"state":{"q01":[5,5],"q99":[6,6]},)"
                                          R"("actions":{"mean":[7,7,7],"std":[8,8,8]}}})");
  EXPECT_EQ(read(options).state->statistics.at("q01"), (std::vector<double>{5, 5}));
  EXPECT_EQ(read(options).actions->kind, Normalization::kMeanStd);
  options.statistics = directory_.path() / "post.safetensors";
  EXPECT_FALSE(read(options).state);
  EXPECT_TRUE(read(options).actions);
  options.statistics = directory_.path() / "absent.safetensors";
  EXPECT_TRUE(contains(error(options), "absent.safetensors] the file could not be opened"));
}

TEST_F(LerobotConfig, TakesStatisticsInsideAnOldModelFile) {
  write_statistics("model.safetensors",
                   {{"normalize_inputs.buffer_observation_state.min", {1, 2}},
                    {"normalize_inputs.buffer_observation_state.max", {3, 4}}});
  pre_ = post_ = nullptr;
  const PolicyConfig config = read();
  EXPECT_EQ(config.state->kind, Normalization::kMinMax);
  EXPECT_EQ(config.state->statistics.at("max"), (std::vector<double>{3, 4}));
  EXPECT_EQ(config.actions->kind, Normalization::kIdentity);
  config_["normalization_mapping"]["ACTION"] = "MEAN_STD";
  EXPECT_TRUE(contains(read().statistics_error, "do not have the feature action"));
  // The first version saved infinities where it had no statistics.
  write_statistics("model.safetensors", {{"normalize_inputs.buffer_observation_state.min",
                                          {std::numeric_limits<float>::infinity()}}});
  EXPECT_TRUE(contains(read().statistics_error, "observation.state.min holds a value of inf"));
}

TEST_F(LerobotConfig, WarnsOfAnotherTokenizerAndRefusesAnOpenpiConfig) {
  step(pre_, 2)["config"]["tokenizer_name"] = "gpt2";
  EXPECT_EQ(read().warnings,
            Names{"the preprocessor asks for the tokenizer 'gpt2', PaliGemma's is used"});
  LoadOptions options;
  options.openpi_config = "pi0_aloha";
  EXPECT_TRUE(contains(error(options), "this is a LeRobot checkpoint, which says itself what"));
}

TEST(LerobotGoldens, AreRead) {
  const auto read = [](const char* name) {
    return read_policy_config(find_checkpoint(std::string(SACCADE_GOLDEN "/") + name), {});
  };
  const PolicyConfig pi0 = read("pi0_lerobot");
  EXPECT_EQ(pi0.model, Model::kPi0);
  EXPECT_EQ(pi0.camera_names, (Names{"cam0", "cam1"}));
  EXPECT_EQ(pi0.chunk, 6);
  EXPECT_EQ(pi0.max_prompt_tokens, 12);
  EXPECT_EQ(pi0.image_size, 28);
  ASSERT_TRUE(pi0.state && pi0.actions);
  EXPECT_EQ(pi0.actions->kind, Normalization::kMeanStd);
  EXPECT_EQ(pi0.actions->statistics.at("std").size(), 32u);
  const PolicyConfig pi05 = read("pi05_lerobot");
  EXPECT_EQ(pi05.model, Model::kPi05);
  EXPECT_EQ(pi05.cameras.size(), 3u);
  EXPECT_EQ(pi05.state->kind, Normalization::kQuantiles);
  for (const char* name : {"variants/pi0_legacy", "variants/pi05_sharded", "variants/pi05_small"}) {
    const PolicyConfig config = read(name);
    EXPECT_TRUE(config.state && config.actions) << name << ' ' << config.statistics_error;
    EXPECT_TRUE(config.warnings.empty()) << name;
  }
}

}  // namespace
}  // namespace saccade::io
