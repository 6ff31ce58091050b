#include "models/dims.h"

#include <gtest/gtest.h>

#include "models/names.h"
#include "saccade/error.h"

namespace saccade::models {
namespace {

TensorShapes tiny(Model model) {
  const std::string layer = names::kVision + "encoder.layers.1.";
  TensorShapes shapes{
      {names::kVision + "embeddings.patch_embedding.weight", {48, 3, 14, 14}},
      {names::kVision + "embeddings.position_embedding.weight", {4, 48}},
      {layer + "mlp.fc1.weight", {72, 48}},
      {names::kEmbedding, {512, 64}},
      {"action_in_proj.weight", {32, 24}},
  };
  const auto gemma = [&](const std::string& root, int width, int mlp) {
    const std::string at = root + "layers.2.";
    shapes[at + "self_attn.q_proj.weight"] = {128, width};
    shapes[at + "self_attn.k_proj.weight"] = {16, width};
    shapes[at + "mlp.gate_proj.weight"] = {mlp, width};
  };
  gemma(names::kPrefix, 64, 128);
  gemma(names::kExpert, 32, 96);
  if (model == Model::kPi05) {
    shapes[names::kExpert + "norm.dense.weight"] = {96, 32};
  } else {
    shapes[names::kExpert + "norm.weight"] = {32};
    shapes["state_proj.weight"] = {32, 20};
  }
  return shapes;
}

std::string refusal(const TensorShapes& shapes) {
  try {
    detect_model(shapes, "model.safetensors");
  } catch (const InvalidArgument& error) {
    return error.what();
  }
  return "";
}

TEST(Dims, ComeFromTheShapes) {
  std::vector<std::string> warnings;
  const PiDims dims = derive_dims(Model::kPi0, tiny(Model::kPi0), {}, warnings);
  EXPECT_EQ(dims.vision.layers, 2);
  EXPECT_EQ(dims.vision.width, 48);
  EXPECT_EQ(dims.vision.mlp, 72);
  EXPECT_EQ(dims.vision.image_size, 28);
  EXPECT_EQ(dims.vision.heads, 4);
  EXPECT_EQ(warnings.size(), 1u);  // the heads are assumed
  EXPECT_EQ(dims.prefix.layers, 3);
  EXPECT_EQ(dims.prefix.head_dim, 16);
  EXPECT_EQ(dims.prefix.kv_heads, 1);
  EXPECT_EQ(dims.expert.mlp, 96);
  EXPECT_EQ(dims.vocabulary, 512);
  EXPECT_EQ(dims.max_action_dim, 24);
  EXPECT_EQ(dims.max_state_dim, 20);
}

TEST(Dims, VisionHeadsCanBeGiven) {
  std::vector<std::string> warnings;
  EXPECT_EQ(derive_dims(Model::kPi0, tiny(Model::kPi0), 3, warnings).vision.heads, 3);
  EXPECT_TRUE(warnings.empty());
  EXPECT_THROW(derive_dims(Model::kPi0, tiny(Model::kPi0), 5, warnings), InvalidArgument);
}

TEST(Dims, AbsentTensorsLeaveThePublishedValues) {
  std::vector<std::string> warnings;
  const PiDims dims = derive_dims(Model::kPi05, {}, {}, warnings);
  EXPECT_EQ(dims.vision.tokens(), 256);
  EXPECT_EQ(dims.prefix.qkv(), 2560);
  EXPECT_EQ(dims.expert.width, 1024);
  EXPECT_EQ(dims.max_state_dim, 0);
}

TEST(Dims, RefusesShapesThatNoModelHas) {
  std::vector<std::string> warnings;
  TensorShapes shapes = tiny(Model::kPi0);
  shapes[names::kVision + "embeddings.position_embedding.weight"] = {5, 48};
  EXPECT_THROW(derive_dims(Model::kPi0, shapes, {}, warnings), InvalidArgument);
  shapes = tiny(Model::kPi0);
  shapes[names::kPrefix + "layers.2.self_attn.q_proj.weight"] = {100, 64};
  EXPECT_THROW(derive_dims(Model::kPi0, shapes, {}, warnings), InvalidArgument);
  shapes = tiny(Model::kPi0);
  shapes[names::kExpert + "layers.2.self_attn.q_proj.weight"] = {256, 32};
  EXPECT_THROW(derive_dims(Model::kPi0, shapes, {}, warnings), InvalidArgument);
}

TEST(DetectModel, TellsTheModelsApart) {
  EXPECT_EQ(detect_model(tiny(Model::kPi0), ""), Model::kPi0);
  EXPECT_EQ(detect_model(tiny(Model::kPi05), ""), Model::kPi05);
}

TEST(DetectModel, NamesOtherPolicies) {
  EXPECT_NE(refusal({{"vlm_with_expert.x", {1}}}).find("SmolVLA"), std::string::npos);
  EXPECT_NE(refusal({{"action_head.x", {1}}}).find("GR00T"), std::string::npos);
  EXPECT_NE(refusal({{names::kPrefix + "norm.weight", {1}}}).find("Pi0-FAST"), std::string::npos);
  EXPECT_NE(refusal({{"fc.weight", {1}}}).find("no Pi0 or Pi0.5"), std::string::npos);
  TensorShapes both = tiny(Model::kPi05);
  both["state_proj.weight"] = {32, 20};
  EXPECT_NE(refusal(both).find("neither"), std::string::npos);
}

}  // namespace
}  // namespace saccade::models
