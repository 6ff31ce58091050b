#include <gtest/gtest.h>

#include "io/policy_config.h"
#include "temp_files.h"

namespace saccade::io {
namespace {

namespace fs = std::filesystem;

class FindCheckpoint : public ::testing::Test {
 protected:
  CheckpointFiles find(const fs::path& below) const {
    return find_checkpoint(directory_.path() / below);
  }
  std::string error(const fs::path& below) const {
    return error_of([&] { find(below); });
  }

  const TempDirectory directory_;
  const fs::path root_ = directory_.path();
};

TEST_F(FindCheckpoint, KnowsLerobotByItsTypeOrItsProcessors) {
  directory_.write("a/model.safetensors", "");
  directory_.write("a/config.json", R"({"type":"pi0"})");
  EXPECT_EQ(find("a").layout, "lerobot");
  EXPECT_EQ(find("a").config, root_ / "a/config.json");
  EXPECT_TRUE(find("a").preprocessor.empty());
  directory_.write("b/model.safetensors.index.json", "");
  directory_.write("b/policy_postprocessor.json", "");
  EXPECT_EQ(find("b").layout, "lerobot");
  EXPECT_EQ(find("b").weights, root_ / "b/model.safetensors.index.json");
  EXPECT_EQ(find("b").postprocessor, root_ / "b/policy_postprocessor.json");
  EXPECT_TRUE(find("b").config.empty());
}

TEST_F(FindCheckpoint, KnowsOpenpiPyTorch) {
  directory_.write("model.safetensors", "");
  EXPECT_EQ(find("").layout, "openpi");
  directory_.write("config.json", R"({"action_horizon":10,"type":null})");
  directory_.write("params/manifest.ocdbt", "");
  EXPECT_EQ(find("").layout, "openpi");
  EXPECT_EQ(find("").config, root_ / "config.json");
}

TEST_F(FindCheckpoint, TakesAFileWithWhatLiesBesideIt) {
  directory_.write("a/other.safetensors", "");
  EXPECT_EQ(find("a/other.safetensors").layout, "openpi");
  EXPECT_EQ(find("a/other.safetensors").root, root_ / "a");
  EXPECT_EQ(find("a/other.safetensors").weights, root_ / "a/other.safetensors");
  directory_.write("a/config.json", R"({"type":"pi05"})");
  directory_.write("a/x.safetensors.index.json", "");
  EXPECT_EQ(find("a/x.safetensors.index.json").layout, "lerobot");
  EXPECT_TRUE(contains(error("a/config.json"), "must end in .safetensors or .index.json"));
}

TEST_F(FindCheckpoint, LooksInsideOfTrainingOutputs) {
  directory_.write("checkpoints/last/pretrained_model/model.safetensors", "");
  directory_.write("checkpoints/last/pretrained_model/config.json", R"({"type":"pi0"})");
  EXPECT_EQ(find("").layout, "lerobot");
  EXPECT_EQ(find("checkpoints/last").root, root_ / "checkpoints/last/pretrained_model");
}

TEST_F(FindCheckpoint, KnowsOrbaxFromInsideAndOutside) {
  directory_.write("new/params/manifest.ocdbt", "");
  directory_.write("new/assets/droid/norm_stats.json", "");
  for (const char* name : {"new", "new/params", "new/params/"}) {
    EXPECT_EQ(find(name).layout, "orbax");
    EXPECT_TRUE(fs::equivalent(find(name).root, root_ / "new")) << name;
    EXPECT_TRUE(fs::equivalent(find(name).weights, root_ / "new/params")) << name;
  }
  directory_.write("old/params/params.PaliGemma.img.head.bias/.zarray", "");
  EXPECT_EQ(find("old").layout, "orbax");
}

TEST_F(FindCheckpoint, SaysWhatIsWrong) {
  EXPECT_TRUE(contains(error("absent"), "absent] there is no such file or directory"));
  directory_.write("empty/readme.txt", "");
  fs::create_directories(root_ / "empty/params");
  EXPECT_TRUE(contains(error("empty"), "this is no checkpoint: a directory must have"));
  directory_.write("adapter/adapter_config.json", "");
  EXPECT_TRUE(contains(error("adapter"), "must be merged into its base policy"));
  directory_.write("broken/model.safetensors", "");
  directory_.write("broken/config.json", R"({"type":"pi0",})");
  EXPECT_TRUE(contains(error("broken"), "config.json] this is not valid JSON, see byte 15"));
  directory_.write("broken/config.json", R"({"type":5})");
  EXPECT_TRUE(contains(error("broken"), "config.json] type must be a string, got 5"));
  directory_.write("broken/config.json", "[]");
  EXPECT_TRUE(contains(error("broken"), "config.json] the file must hold a JSON object"));
}

TEST_F(FindCheckpoint, FindsTheGoldenOnes) {
  const fs::path golden = SACCADE_GOLDEN;
  EXPECT_EQ(find_checkpoint(golden / "pi0_lerobot").layout, "lerobot");
  EXPECT_EQ(find_checkpoint(golden / "pi0_orbax").layout, "lerobot");
  EXPECT_EQ(find_checkpoint(golden / "variants/pi0_dims_openpi").layout, "openpi");
  EXPECT_EQ(find_checkpoint(golden / "variants/pi05_sharded").layout, "lerobot");
  for (const char* name : {"pi0_orbax/orbax", "pi0_orbax/orbax/params"}) {
    const CheckpointFiles files = find_checkpoint(golden / name);
    EXPECT_EQ(files.layout, "orbax");
    EXPECT_TRUE(files.config.empty());
    EXPECT_TRUE(files.preprocessor.empty());
  }
}

}  // namespace
}  // namespace saccade::io
