#include "io/openpi_config.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "temp_files.h"

namespace saccade::io {
namespace {

constexpr char kStats[] = R"({"norm_stats":{"state":{"mean":[1,2],"std":[3,4],"q01":[0,0],)"
                          R"("q99":[5,6]},"actions":{"mean":[1],"std":[1],"q01":[0],"q99":[1]}}})";
constexpr char kZScore[] = R"({"norm_stats":{"state":{"mean":[7],"std":[1]},)"
                           R"("actions":{"mean":[1],"std":[1]}}})";

class OpenpiConfigTest : public ::testing::Test {
 protected:
  void SetUp() override { directory_.write("model.safetensors", ""); }

  PolicyConfig read(const LoadOptions& options = {}) const {
    return read_policy_config(find_checkpoint(directory_.path()), options);
  }
  std::string error(const LoadOptions& options) const {
    return error_of([&] { read(options); });
  }
  static LoadOptions named(const std::string& name) {
    LoadOptions options;
    options.openpi_config = name;
    return options;
  }

  const TempDirectory directory_;
};

TEST_F(OpenpiConfigTest, HasDefaultsAndWarnsWithoutAName) {
  const PolicyConfig config = read();
  EXPECT_FALSE(config.model);
  EXPECT_EQ(config.mode, Mode::kOpenpi);
  EXPECT_EQ(config.steps, 10);
  EXPECT_EQ(config.chunk, 50);
  EXPECT_EQ(config.cameras,
            (std::vector<std::string>{"base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb"}));
  EXPECT_EQ(config.camera_names, config.cameras);
  EXPECT_FALSE(config.action_dim);
  EXPECT_FALSE(config.state_in_prompt);
  ASSERT_EQ(config.warnings.size(), 1u);
  EXPECT_TRUE(contains(config.warnings[0], "no openpi config is named"));
  EXPECT_FALSE(config.state);
  EXPECT_TRUE(contains(config.statistics_error, "there is no norm_stats.json below"));
}

TEST_F(OpenpiConfigTest, ReadsConfigJson) {
  directory_.write("config.json",
                   R"({"action_dim":32,"action_horizon":16,"precision":"bfloat16"})");
  EXPECT_EQ(read().chunk, 16);
  const PolicyConfig config = read(named("pi05_libero"));
  EXPECT_EQ(config.chunk, 10);
  ASSERT_EQ(config.warnings.size(), 1u);
  EXPECT_TRUE(contains(config.warnings[0], "the openpi config pi05_libero has 10"));
  for (const char* bad :
       {R"({"action_horizon":"16"})", R"({"action_horizon":0})", R"({"action_horizon":1001})",
        R"({"action_horizon":16.0})", R"({"action_horizon":18446744073709551615})"}) {
    directory_.write("config.json", bad);
    EXPECT_TRUE(contains(error({}), "config.json] action_horizon must be an integer from 1"));
  }
  directory_.write("config.json", R"({"action_horizon":1,"precision":16})");
  EXPECT_TRUE(contains(error({}), "config.json] precision must be a string, got 16"));
}

TEST_F(OpenpiConfigTest, KnowsTheRobotsOfTheTrainConfigs) {
  const PolicyConfig aloha = read(named("pi0_aloha_towel"));
  EXPECT_EQ(aloha.model, Model::kPi0);
  EXPECT_EQ(aloha.camera_names,
            (std::vector<std::string>{"cam_high", "cam_left_wrist", "cam_right_wrist"}));
  EXPECT_EQ(aloha.ignored_cameras, std::vector<std::string>{"cam_low"});
  EXPECT_EQ(aloha.action_dim, 14);
  EXPECT_EQ(aloha.relative_actions, (std::vector<bool>{1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0}));
  EXPECT_TRUE(aloha.aloha_joints);
  EXPECT_EQ(aloha.default_prompt, "fold the towel");
  EXPECT_FALSE(aloha.state_in_prompt);

  const PolicyConfig sim = read(named("pi0_aloha_sim"));
  EXPECT_TRUE(sim.relative_actions.empty());
  EXPECT_TRUE(sim.aloha_joints);

  const PolicyConfig droid = read(named("pi05_full_droid_finetune"));
  EXPECT_EQ(droid.model, Model::kPi05);
  EXPECT_EQ(droid.chunk, 16);
  EXPECT_EQ(droid.state_dim, 8);
  EXPECT_EQ(droid.action_dim, 8);
  EXPECT_EQ(droid.relative_actions, (std::vector<bool>{1, 1, 1, 1, 1, 1, 1, 0}));
  EXPECT_EQ(droid.state_in_prompt, true);
  EXPECT_EQ(droid.cameras, (std::vector<std::string>{"base_0_rgb", "left_wrist_0_rgb"}));
  EXPECT_EQ(read(named("pi0_droid_jointpos_polaris")).max_prompt_tokens, 100);

  const PolicyConfig libero = read(named("pi05_libero"));
  EXPECT_EQ(libero.chunk, 10);
  EXPECT_EQ(libero.state_in_prompt, false);
  EXPECT_EQ(libero.state_dim, 8);
  EXPECT_EQ(libero.action_dim, 7);
  EXPECT_TRUE(libero.relative_actions.empty());
  EXPECT_TRUE(libero.warnings.empty());
  EXPECT_EQ(read(named("pi0_libero")).relative_actions.size(), 7u);
}

TEST_F(OpenpiConfigTest, NamesWhatIsNotSupportedOrKnown) {
  EXPECT_TRUE(contains(error(named("pi0_fast_droid")), "pi0_fast_droid is an autoregressive"));
  EXPECT_TRUE(contains(error(named("paligemma_vq_droid")), "is not supported"));
  const std::string unknown = error(named("pi0_droit"));
  EXPECT_TRUE(contains(unknown, "'pi0_droit' is not known, the known ones are pi0_aloha,"));
  EXPECT_TRUE(contains(unknown, "pi05_libero"));
}

TEST_F(OpenpiConfigTest, TakesTheStatisticsOfTheNamedAssets) {
  directory_.write("assets/droid/norm_stats.json", kStats);
  directory_.write("assets/trossen/norm_stats.json", kZScore);
  const PolicyConfig droid = read(named("pi05_droid"));
  ASSERT_TRUE(droid.state && droid.actions);
  EXPECT_EQ(droid.state->kind, Normalization::kQuantiles);
  EXPECT_EQ(droid.state->eps, 1e-6);
  EXPECT_EQ(droid.state->statistics.at("q99"), (std::vector<double>{5, 6}));
  EXPECT_FALSE(droid.normalization_by_model);
  const PolicyConfig aloha = read(named("pi0_aloha"));
  EXPECT_EQ(aloha.state->kind, Normalization::kMeanStd);
  EXPECT_EQ(aloha.state->statistics.at("mean"), std::vector<double>{7});
  const PolicyConfig libero = read(named("pi05_libero"));
  EXPECT_FALSE(libero.state);
  EXPECT_TRUE(contains(libero.statistics_error,
                       "assets/physical-intelligence/libero/norm_stats.json, where pi05_libero "
                       "keeps them, does not exist; name the file with --statistics"));
  const PolicyConfig short_of_quantiles = read(named("pi05_aloha"));
  EXPECT_FALSE(short_of_quantiles.state || short_of_quantiles.actions);
  EXPECT_EQ(short_of_quantiles.statistics_error,
            "observation.state has no statistic q01, which QUANTILES normalisation needs");
}

TEST_F(OpenpiConfigTest, TakesTheOnlyStatisticsAndNoneOfSeveral) {
  directory_.write("assets/a/b/norm_stats.json", kStats);
  EXPECT_TRUE(read().state);
  directory_.write("assets/c/norm_stats.json", kStats);
  const PolicyConfig config = read();
  EXPECT_FALSE(config.state);
  EXPECT_TRUE(contains(config.statistics_error, "pass --openpi-config or --statistics"));
  EXPECT_TRUE(contains(config.statistics_error, "assets/a/b/norm_stats.json, "));
  EXPECT_TRUE(contains(config.statistics_error, "assets/c/norm_stats.json"));
}

TEST_F(OpenpiConfigTest, LeavesTheKindToTheModel) {
  directory_.write("assets/a/norm_stats.json", kStats);
  PolicyConfig pi0 = read();
  EXPECT_TRUE(pi0.normalization_by_model);
  PolicyConfig pi05 = pi0;
  set_openpi_normalization(pi0, Model::kPi0);
  EXPECT_EQ(pi0.state->kind, Normalization::kMeanStd);
  EXPECT_EQ(pi0.actions->kind, Normalization::kMeanStd);
  set_openpi_normalization(pi0, Model::kPi05);
  EXPECT_EQ(pi0.state->kind, Normalization::kMeanStd);
  set_openpi_normalization(pi05, Model::kPi05);
  EXPECT_EQ(pi05.actions->kind, Normalization::kQuantiles);
  LoadOptions options;
  options.model = Model::kPi05;
  options.mode = Mode::kLerobot;
  EXPECT_EQ(read(options).state->kind, Normalization::kQuantiles);
  EXPECT_EQ(read(options).state->eps, 1e-8);
}

TEST_F(OpenpiConfigTest, ReportsStatisticsThatCannotBeUsed) {
  directory_.write("assets/a/norm_stats.json", R"({"norm_stats":{"state":{"mean":[]}}})");
  EXPECT_TRUE(contains(read().statistics_error, "norm_stats.state.mean must be a list"));
  directory_.write("assets/a/norm_stats.json", R"({"norm_stats":{"state":{"mean":[1]}}})");
  EXPECT_TRUE(read().state);
  EXPECT_EQ(read().statistics_error,
            "the statistics do not have the feature action, pass a statistics file that does");
  LoadOptions options;
  options.statistics = directory_.path() / "absent.json";
  EXPECT_TRUE(contains(error(options), "absent.json] the file could not be read"));
  options.statistics = directory_.write("given.json", kStats);
  EXPECT_EQ(read(options).state->statistics.at("mean"), (std::vector<double>{1, 2}));
  EXPECT_EQ(read(options).statistics_error, "");
}

TEST_F(OpenpiConfigTest, ChecksAndAppliesOptions) {
  LoadOptions options;
  options.steps = 1;
  options.chunk = kMaxChunk;
  options.max_prompt_tokens = kMaxPromptTokens;
  options.vision_heads = 4;
  options.openpi_config = "pi05_libero";
  options.model = Model::kPi0;
  const PolicyConfig config = read(options);
  EXPECT_EQ(config.steps, 1);
  EXPECT_EQ(config.chunk, 1000);
  EXPECT_EQ(config.max_prompt_tokens, 4096);
  EXPECT_EQ(config.vision_heads, 4);
  EXPECT_EQ(config.model, Model::kPi0);
  for (int bad : {0, -1, 1001}) {
    LoadOptions wrong;
    wrong.steps = bad;
    EXPECT_EQ(error(wrong), "[options] steps must be from 1 to 1000, got " + std::to_string(bad));
    wrong = {};
    wrong.chunk = bad;
    EXPECT_TRUE(contains(error(wrong), "chunk must be from 1 to 1000"));
  }
  LoadOptions wrong;
  wrong.max_prompt_tokens = 4097;
  EXPECT_TRUE(contains(error(wrong), "max_prompt_tokens must be from 1 to 4096, got 4097"));
}

TEST(OpenpiGoldens, AreRead) {
  const auto read = [](const char* name) {
    return read_policy_config(find_checkpoint(std::string(SACCADE_GOLDEN "/") + name), {});
  };
  PolicyConfig torch = read("variants/pi0_dims_openpi");
  EXPECT_EQ(torch.chunk, 1);
  set_openpi_normalization(torch, Model::kPi0);
  ASSERT_TRUE(torch.state && torch.actions);
  EXPECT_EQ(torch.state->statistics.at("mean").size(), 14u);
  EXPECT_TRUE(read("pi0_orbax/orbax").cameras.size() == 3);
  EXPECT_FALSE(read("pi0_orbax/orbax/params").state);
}

}  // namespace
}  // namespace saccade::io
