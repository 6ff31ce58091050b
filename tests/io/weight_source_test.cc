#include "io/weight_source.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

#include "io/canonical_names.h"
#include "io/safetensors.h"
#include "temp_files.h"

namespace saccade::io {
namespace {

namespace fs = std::filesystem;

constexpr char kPg[] = "paligemma_with_expert.paligemma.";
const std::string kEmbedding = std::string(kPg) + "model.language_model.embed_tokens.weight";

/// Bytes count up through the file, so a tensor's first byte tells where it lies.
std::string file_of(const std::vector<std::string>& names) {
  std::string header = "{";
  for (std::size_t i = 0; i < names.size(); ++i) {
    header += (i > 0 ? ",\"" : "\"") + names[i] + R"(":{"dtype":"U8","shape":[2,1],)" +
              "\"data_offsets\":[" + std::to_string(2 * i) + "," + std::to_string(2 * i + 2) + "]}";
  }
  return safetensors_bytes(header + "}", 2 * names.size());
}

TEST(CanonicalName, AcceptsEveryLayout) {
  const std::vector<std::array<std::string, 2>> cases = {
      {"model.action_in_proj.weight", "action_in_proj.weight"},
      {"_orig_mod.model.time_mlp_in.bias", "time_mlp_in.bias"},
      {"model._orig_mod.state_proj.bias", "state_proj.bias"},
      {"model.paligemma_with_expert.gemma_expert.model.norm.weight",
       "paligemma_with_expert.gemma_expert.model.norm.weight"},
      {std::string(kPg) + "vision_tower.vision_model.post_layernorm.bias",
       std::string(kPg) + "model.vision_tower.vision_model.post_layernorm.bias"},
      {std::string(kPg) + "model.vision_tower.post_layernorm.bias",
       std::string(kPg) + "model.vision_tower.vision_model.post_layernorm.bias"},
      {std::string(kPg) + "vision_tower.encoder.layers.0.mlp.fc1.bias",
       std::string(kPg) + "model.vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias"},
      {"model." + std::string(kPg) + "language_model.model.layers.7.mlp.up_proj.weight",
       std::string(kPg) + "model.language_model.layers.7.mlp.up_proj.weight"},
      {std::string(kPg) + "language_model.lm_head.weight", std::string(kPg) + "lm_head.weight"},
      {std::string(kPg) + "multi_modal_projector.linear.bias",
       std::string(kPg) + "model.multi_modal_projector.linear.bias"},
  };
  for (const auto& [key, canonical] : cases) {
    EXPECT_EQ(canonical_name(key), canonical);
    EXPECT_EQ(canonical_name(canonical), canonical);
  }
}

TEST(CanonicalName, LeavesOtherKeysAlone) {
  for (const char* key : {"model.layers.0.weight", "model.", "", "xmodel.state_proj.weight",
                          "normalize_inputs.buffer_observation_state.mean", "not_orig_mod.x",
                          "model.model.state_proj.weight"}) {
    EXPECT_EQ(canonical_name(key), key);
  }
}

TEST(CanonicalName, KnowsBothNamesOfTheTimeMlp) {
  EXPECT_EQ(other_time_mlp_name("time_mlp_in.weight"), "action_time_mlp_in.weight");
  EXPECT_EQ(other_time_mlp_name("action_time_mlp_out.bias"), "time_mlp_out.bias");
  EXPECT_EQ(other_time_mlp_name("action_in_proj.weight"), std::nullopt);
}

TEST(CanonicalNames, NamesBothKeysOfOneTensor) {
  EXPECT_EQ(error_of([] {
              canonical_names({"model.state_proj.bias", "state_proj.bias"}, "f");
            }),
            "[f] 'model.state_proj.bias' and 'state_proj.bias' are names of the same tensor");
}

TEST(CanonicalNames, TakesTheOutputEmbeddingForAMissingTokenEmbedding) {
  const std::string output = std::string(kPg) + "lm_head.weight";
  const std::string legacy = "model." + std::string(kPg) + "language_model.lm_head.weight";
  const std::string embedding = "model." + kEmbedding;
  const auto only = canonical_names({legacy}, "f");
  EXPECT_EQ(only.size(), 1u);
  EXPECT_EQ(only.at(kEmbedding), legacy);
  const auto both = canonical_names({output, embedding}, "f");
  EXPECT_EQ(both.at(kEmbedding), embedding);
  EXPECT_EQ(both.at(output), output);
}

TEST(OpenSafetensors, ReadsAndReleasesTensorsInAnyOrder) {
  const TempDirectory directory;
  const auto path = directory.path() / "model.safetensors";
  // Larger than a few pages, with edges inside of pages.
  const std::vector<WeightInfo> tensors = {{"model.state_proj.bias", FileDType::kU8, {100, 3, 100}},
                                           {"z", FileDType::kU8, {5}},
                                           {"e", FileDType::kF32, {0, 1LL << 60, 8}}};
  write_safetensors(path, {}, tensors, [](const WeightInfo& info, const ByteSink& sink) {
    sink(std::vector<std::byte>(info.bytes(), std::byte(info.name[0])));
  });
  const auto source = open_safetensors(path);
  ASSERT_EQ(source->tensors().size(), 3u);
  EXPECT_EQ(source->tensors().at("state_proj.bias").name, "model.state_proj.bias");
  for (const char* name : {"z", "state_proj.bias", "z", "state_proj.bias"}) {
    const WeightView view = source->read(name);
    const WeightInfo& info = source->tensors().at(name);
    for (std::int64_t i = 0; i < info.size(); ++i) ASSERT_EQ(view.data[i], std::byte(info.name[0]));
    source->release(name);
  }
  EXPECT_EQ(source->read("state_proj.bias").strides, (std::vector<std::int64_t>{300, 100, 1}));
  EXPECT_EQ(source->read("e").extents.size(), 3u);
  source->release("e");
  EXPECT_EQ(error_of([&] { source->read("model.state_proj.bias"); }),
            "[weights] there is no tensor 'model.state_proj.bias'");
}

class Shards : public ::testing::Test {
 protected:
  std::string open(const std::string& index) {
    const auto path = directory_.write("model.safetensors.index.json", index);
    return error_of([&] { source_ = open_safetensors(path); });
  }

  const TempDirectory directory_;
  std::unique_ptr<WeightSource> source_;
};

TEST_F(Shards, AreOneSource) {
  directory_.write("s1", file_of({"model.state_proj.bias", "a"}));
  directory_.write("s2", file_of({"b"}));
  ASSERT_EQ(open(R"({"metadata":{"total_size":6},"weight_map":)"
                 R"({"a":"s1","b":"s2","model.state_proj.bias":"s1"}})"),
            "no error");
  EXPECT_EQ(source_->tensors().size(), 3u);
  EXPECT_EQ(source_->read("a").data[0], std::byte(2));
  EXPECT_EQ(source_->read("b").data[1], std::byte(1));
  EXPECT_EQ(source_->read("state_proj.bias").data[1], std::byte(1));
}

TEST_F(Shards, MayNotLieAboutNames) {
  directory_.write("s1", file_of({"a", "x"}));
  directory_.write("s2", file_of({"b", "model.a"}));
  EXPECT_TRUE(contains(open(R"({"weight_map":{"a":"s1","b":"s1"}})"),
                       "weight_map places 'b' in 's1', which does not hold it"));
  EXPECT_TRUE(contains(open(R"({"weight_map":{"a":"s1"}})"),
                       "'s1' holds 'x', which weight_map does not place there"));
  EXPECT_TRUE(contains(open(R"({"weight_map":{"a":"s1","x":"s3","b":"s4"}})"),
                       "these files of the checkpoint are missing: 's3', 's4'"));
  directory_.write("s3", "short");
  EXPECT_TRUE(contains(open(R"({"weight_map":{"a":"s3"}})"), "s3] a safetensors file starts"));
  directory_.write("s5", file_of({"state_proj.bias"}));
  directory_.write("s6", file_of({"model.state_proj.bias"}));
  EXPECT_TRUE(
      contains(open(R"({"weight_map":{"state_proj.bias":"s5","model.state_proj.bias":"s6"}})"),
               "are names of the same tensor"));
}

TEST_F(Shards, StayInTheirDirectory) {
  for (const char* name : {"../s", "/etc/passwd", "", ".", "..", "a\\\\b", "a\\u0000b"}) {
    EXPECT_TRUE(contains(open("{\"weight_map\":{\"a\":\"" + std::string(name) + "\"}}"),
                         "is not the name of a file beside the index"))
        << name;
  }
}

TEST_F(Shards, NeedAWeightMap) {
  EXPECT_TRUE(contains(open("{}"), "the index has no object weight_map"));
  EXPECT_TRUE(contains(open("[]"), "the index has no object weight_map"));
  EXPECT_TRUE(contains(open(R"({"weight_map":[]})"), "the index has no object weight_map"));
  EXPECT_TRUE(contains(open(R"({"weight_map":{}})"), "weight_map is empty"));
  EXPECT_TRUE(contains(open(R"({"weight_map":{"a":1}})"), "weight_map has no file name for 'a'"));
  EXPECT_TRUE(contains(open(R"({"weight_map":{"a":"s","a":"t"}})"), "the key 'a' is there twice"));
  EXPECT_TRUE(contains(open("{"), "index.json] this is not valid JSON"));
}

TEST(Goldens, HaveTheSameCanonicalNames) {
  const auto names = [](const std::string& checkpoint) {
    std::vector<std::string> list;
    const auto source = open_safetensors(SACCADE_GOLDEN "/" + checkpoint);
    for (const auto& [name, info] : source->tensors()) list.push_back(name);
    return list;
  };
  const auto lerobot = names("pi05_lerobot/model.safetensors");
  EXPECT_EQ(lerobot, names("pi05_openpi_orbax/model.safetensors"));
  EXPECT_EQ(lerobot.size(), 112u);
  EXPECT_TRUE(std::find(lerobot.begin(), lerobot.end(), kEmbedding) != lerobot.end());
}

TEST(Goldens, OfEveryLayoutHaveTheirTensorsUnderCanonicalNames) {
  for (const char* checkpoint :
       {"pi0_lerobot/model.safetensors", "variants/pi0_legacy/model.safetensors",
        "variants/pi05_dims_f16/model.safetensors", "variants/pi0_embed_both/model.safetensors",
        "variants/pi05_embed_tokens/model.safetensors",
        "variants/pi05_sharded/model.safetensors.index.json"}) {
    const auto source = open_safetensors(std::string(SACCADE_GOLDEN "/") + checkpoint);
    for (const char* name : {"model.vision_tower.vision_model.embeddings.patch_embedding.bias",
                             "model.multi_modal_projector.linear.bias",
                             "model.language_model.layers.0.mlp.up_proj.weight",
                             "model.language_model.embed_tokens.weight"}) {
      EXPECT_TRUE(source->tensors().contains(std::string(kPg) + name)) << checkpoint << ' ' << name;
    }
  }
  const auto both = open_safetensors(SACCADE_GOLDEN "/variants/pi0_embed_both/model.safetensors");
  EXPECT_TRUE(both->tensors().at(kEmbedding).name.ends_with("embed_tokens.weight"));
  EXPECT_TRUE(both->tensors().contains(std::string(kPg) + "lm_head.weight"));
}

}  // namespace
}  // namespace saccade::io
