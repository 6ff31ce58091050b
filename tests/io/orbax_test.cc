#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "io/orbax/crc32c.h"
#include "io/orbax/orbax_names.h"
#include "io/weight_source.h"
#include "orbax_writer.h"
#include "saccade/error.h"

namespace saccade::io {
namespace {

const std::filesystem::path kGolden = SACCADE_GOLDEN;

template <typename T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

float half_to_float(std::uint16_t bits) {
  const int exponent = bits >> 10 & 0x1f;
  const float fraction = static_cast<float>(bits & 0x3ff);
  const float size =
      exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(fraction + 1024, exponent - 25);
  return bits & 0x8000 ? -size : size;
}

float to_float(const std::byte* at, FileDType dtype) {
  if (dtype == FileDType::kF32) return load<float>(at);
  const auto bits = load<std::uint16_t>(at);
  if (dtype == FileDType::kF16) return half_to_float(bits);
  return std::bit_cast<float>(std::uint32_t{bits} << 16);
}

// The elements of a view in row-major order.
std::vector<float> elements(const WeightView& view) {
  std::vector<float> values;
  const std::function<void(std::size_t, std::int64_t)> visit = [&](std::size_t axis,
                                                                   std::int64_t offset) {
    if (axis == view.extents.size()) {
      values.push_back(to_float(view.data + offset * size_of(view.dtype), view.dtype));
      return;
    }
    for (std::int64_t i = 0; i < view.extents[axis]; ++i) {
      visit(axis + 1, offset + i * view.strides[axis]);
    }
  };
  visit(0, 0);
  return values;
}

class OrbaxAndSafetensors : public testing::TestWithParam<const char*> {};

TEST_P(OrbaxAndSafetensors, HoldTheSameTensors) {
  const auto folder = kGolden / GetParam();
  const auto orbax = open_orbax(folder / "orbax" / "params");
  const auto torch = open_safetensors(folder / "model.safetensors");
  std::set<std::string> only_torch;
  for (const auto& [name, info] : torch->tensors()) only_torch.insert(name);
  for (const auto& [name, info] : orbax->tensors()) {
    ASSERT_EQ(only_torch.erase(name), 1u) << name;
    EXPECT_EQ(info.shape(), torch->tensors().at(name).shape()) << name;
    EXPECT_LE(orbax->read(name).extents.size(), 4u) << name;
    EXPECT_EQ(elements(orbax->read(name)), elements(torch->read(name))) << name;
    orbax->release(name);
  }
  EXPECT_EQ(only_torch, std::set<std::string>{"paligemma_with_expert.gemma_expert.lm_head.weight"});
}

INSTANTIATE_TEST_SUITE_P(Goldens, OrbaxAndSafetensors,
                         testing::Values("pi0_orbax", "pi05_openpi_orbax"));

// What tools/make_orbax_goldens.py writes: element `index` of array `number`.
float element(int number, std::int64_t index) {
  return static_cast<float>((7 * index + 13 * number) % 251 - 125);
}

struct Expected {
  std::string name;
  std::string leaf;
  std::string index;
  std::string shape;
  std::vector<float> values;
};

// Builds the values of a tensor of `extents` out of the array's index that `source` gives.
std::vector<float> gather(int number, const std::vector<std::int64_t>& extents,
                          const std::function<std::int64_t(const std::int64_t*)>& source) {
  std::vector<float> values;
  std::vector<std::int64_t> at(extents.size(), 0);
  for (bool more = true; more;) {
    values.push_back(element(number, source(at.data())));
    more = false;
    for (std::size_t axis = extents.size(); axis-- > 0 && !more;) {
      more = ++at[axis] < extents[axis];
      if (!more) at[axis] = 0;
    }
  }
  return values;
}

std::vector<Expected> expected_layer(std::int64_t l) {
  using At = const std::int64_t*;
  const std::string llm = "params/PaliGemma/llm/layers/";
  const std::string layer = ".layers." + std::to_string(l) + ".";
  const std::string prefix = "paligemma_with_expert.paligemma.model.language_model" + layer;
  const std::string expert = "paligemma_with_expert.gemma_expert.model" + layer;
  const std::string index = "[" + std::to_string(l);
  return {
      {prefix + "self_attn.q_proj.weight", llm + "attn/q_einsum/w", index + "]", "[24, 8]",
       gather(1, {24, 8},
              [l](At at) { return ((l * 4 + at[0] / 6) * 8 + at[1]) * 6 + at[0] % 6; })},
      {expert + "self_attn.k_proj.weight", llm + "attn/kv_einsum_1/w", index + ",0]", "[6, 8]",
       gather(2, {6, 8}, [l](At at) { return (l * 2 * 8 + at[1]) * 6 + at[0]; })},
      {expert + "self_attn.v_proj.weight", llm + "attn/kv_einsum_1/w", index + ",1]", "[6, 8]",
       gather(2, {6, 8}, [l](At at) { return ((l * 2 + 1) * 8 + at[1]) * 6 + at[0]; })},
      {prefix + "mlp.gate_proj.weight", llm + "mlp/gating_einsum", index + ",0]", "[12, 8]",
       gather(3, {12, 8}, [l](At at) { return (l * 2 * 8 + at[1]) * 12 + at[0]; })},
      {prefix + "mlp.up_proj.weight", llm + "mlp/gating_einsum", index + ",1]", "[12, 8]",
       gather(3, {12, 8}, [l](At at) { return ((l * 2 + 1) * 8 + at[1]) * 12 + at[0]; })},
  };
}

std::vector<Expected> all_expected(const std::string& value) {
  using At = const std::int64_t*;
  const auto in_order = [](At at) { return at[0]; };
  const std::string paligemma = "paligemma_with_expert.paligemma.model.";
  const std::string embeddings = paligemma + "vision_tower.vision_model.embeddings.";
  const std::string lora = "params/PaliGemma/llm/layers/mlp/linear_lora_a";
  std::vector<Expected> all = {
      {paligemma + "language_model.embed_tokens.weight",
       "params/PaliGemma/llm/embedder/input_embedding", "", "[12, 6]", gather(0, {72}, in_order)},
      {lora + value, lora, "", "[3, 12, 2]", gather(4, {72}, in_order)},
      {embeddings + "position_embedding.weight", "params/PaliGemma/img/pos_embedding", "",
       "[4, 10]", gather(5, {40}, in_order)},
      {embeddings + "patch_embedding.weight", "params/PaliGemma/img/embedding/kernel", "",
       "[8, 3, 2, 2]",
       gather(6, {8, 3, 2, 2},
              [](At at) { return ((at[2] * 2 + at[3]) * 3 + at[1]) * 8 + at[0]; })},
      {"action_in_proj.weight", "params/action_in_proj/kernel", "", "[8, 5]",
       gather(7, {8, 5}, [](At at) { return at[1] * 8 + at[0]; })},
      {"action_in_proj.bias", "params/action_in_proj/bias", "", "[8]", gather(8, {8}, in_order)},
  };
  for (std::int64_t layer = 0; layer < 3; ++layer) {
    for (auto& tensor : expected_layer(layer)) all.push_back(std::move(tensor));
  }
  return all;
}

struct Golden {
  const char* folder;
  const char* value;  // the last component of every leaf
  FileDType dtype;
};

void PrintTo(const Golden& golden, std::ostream* out) { *out << golden.folder; }

class OrbaxGolden : public testing::TestWithParam<Golden> {
 protected:
  std::unique_ptr<WeightSource> source_ = open_orbax(kGolden / GetParam().folder);
  std::vector<Expected> expected_ = all_expected(GetParam().value);
};

TEST_P(OrbaxGolden, HoldsWhatWasWritten) {
  EXPECT_EQ(source_->tensors().size(), expected_.size());
  for (const auto& tensor : expected_) {
    ASSERT_TRUE(source_->tensors().count(tensor.name)) << tensor.name;
    const auto& info = source_->tensors().at(tensor.name);
    EXPECT_EQ(info.name, tensor.leaf + GetParam().value + tensor.index);
    EXPECT_EQ(info.dtype, GetParam().dtype);
    EXPECT_EQ(info.shape(), tensor.shape) << tensor.name;
    const auto view = source_->read(tensor.name);
    EXPECT_EQ(view.dtype, GetParam().dtype);
    EXPECT_EQ(elements(view), tensor.values) << tensor.name;
  }
}

TEST_P(OrbaxGolden, ReadsInAnyOrderAndAfterRelease) {
  for (int round = 0; round < 2; ++round) {
    for (auto tensor = expected_.rbegin(); tensor != expected_.rend(); ++tensor) {
      EXPECT_EQ(elements(source_->read(tensor->name)), tensor->values) << tensor->name;
      source_->release(tensor->name);
    }
    for (const std::size_t i : {16u, 6u, 16u, 11u, 0u}) {
      EXPECT_EQ(elements(source_->read(expected_[i].name)), expected_[i].values);
    }
  }
}

TEST_P(OrbaxGolden, RefusesUnknownNames) {
  EXPECT_THROW(source_->read("params/action_in_proj/kernel"), InvalidArgument);
  EXPECT_THROW(source_->release("action_in_proj"), InvalidArgument);
}

INSTANTIATE_TEST_SUITE_P(Tiny, OrbaxGolden,
                         testing::Values(Golden{"orbax_sharded_bf16", "/value", FileDType::kBf16},
                                         Golden{"orbax_directories", "", FileDType::kF32},
                                         Golden{"orbax_deep_tree", "", FileDType::kF32},
                                         Golden{"orbax_inline_f16", "", FileDType::kF16}));

TEST(Crc32c, MatchesTheStandardCheckValue) {
  EXPECT_EQ(orbax::crc32c(orbax::testing::as_bytes("123456789")), 0xe3069283u);
  EXPECT_EQ(orbax::crc32c({}), 0u);
}

TEST(OrbaxNames, KeepsKeyValueHeadsApart) {
  const auto leaf = orbax::place_leaf("PaliGemma/llm/layers/attn/kv_einsum/w", {2, 2, 3, 5, 4});
  ASSERT_EQ(leaf.tensors.size(), 4u);
  const auto& value = leaf.tensors[3];
  EXPECT_EQ(
      value.canonical,
      "paligemma_with_expert.paligemma.model.language_model.layers.1.self_attn.v_proj.weight");
  EXPECT_EQ(value.offset, 60);
  EXPECT_EQ(value.extents, (std::vector<std::int64_t>{12, 5}));
  EXPECT_EQ(value.view_extents, (std::vector<std::int64_t>{3, 4, 5}));
  EXPECT_EQ(value.view_strides, (std::vector<std::int64_t>{20, 1, 4}));
}

TEST(OrbaxNames, RefusesUnexpectedAxes) {
  EXPECT_THROW(orbax::place_leaf("PaliGemma/img/head/kernel", {2, 3, 4}), InvalidArgument);
  EXPECT_THROW(orbax::place_leaf("PaliGemma/llm/layers/mlp/gating_einsum", {2, 3, 4, 4}),
               InvalidArgument);
  EXPECT_THROW(orbax::place_leaf("PaliGemma/img/pos_embedding", {2, 4, 4}), InvalidArgument);
  EXPECT_THROW(orbax::place_leaf("PaliGemma/llm/layers/mlp/linear", {1 << 20, 1, 1}),
               InvalidArgument);
  EXPECT_TRUE(orbax::place_leaf("PaliGemma/img/head/kernel_lora_a", {2, 3}).tensors.empty());
}

}  // namespace
}  // namespace saccade::io
