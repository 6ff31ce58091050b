#include "saccade/policy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

#include "core/bf16.h"
#include "io/safetensors.h"
#include "io/temp_files.h"
#include "runtime/synth.h"

namespace saccade {
namespace {

namespace fs = std::filesystem;

const fs::path kTokenizer = fs::path(SACCADE_GOLDEN) / "../../examples/data/tiny_tokenizer.model";

/// A frame with its pixels.
struct Picture {
  Picture(int height, int width, int seed) : height(height), width(width) {
    for (int i = 0; i < height * width * 3; ++i) {
      pixels.push_back(std::uint8_t((i * 31 + seed * 97) % 251));
    }
  }
  Frame frame() const { return {pixels.data(), height, width}; }
  int height, width;
  std::vector<std::uint8_t> pixels;
};

class PolicyTest : public ::testing::TestWithParam<std::pair<Model, SynthLayout>> {
 protected:
  PolicyTest() {
    SynthOptions options;
    std::tie(options.model, options.layout) = GetParam();
    synthesize_checkpoint(checkpoint_, options);
    load_.tokenizer = kTokenizer;
  }

  Observation observe(const Policy& policy) const {
    Observation observation;
    observation.frames[policy.info().cameras[0]] = front_.frame();
    observation.frames[policy.info().cameras[1]] = wrist_.frame();
    const int dim = policy.info().state_dim > 0 ? policy.info().state_dim : 14;
    for (int i = 0; i < dim; ++i) observation.state.push_back(0.1 * i - 0.3);
    observation.prompt = "pick up the red cube";
    observation.seed = 7;
    return observation;
  }

  io::TempDirectory directory_;
  fs::path checkpoint_ = directory_.path() / "checkpoint";
  LoadOptions load_;
  Picture front_{48, 64, 1};
  Picture wrist_{64, 48, 2};
};

TEST_P(PolicyTest, AChunkDependsOnEveryInput) {
  Policy policy = Policy::load(checkpoint_, load_);
  const Observation base = observe(policy);
  const ActionChunk chunk = policy.infer(base);
  EXPECT_EQ(chunk.values.size(), std::size_t(policy.info().chunk * policy.info().action_dim));
  EXPECT_EQ(policy.infer(base).values, chunk.values);
  EXPECT_EQ(Policy::load(checkpoint_, load_).infer(base).values, chunk.values);

  const Picture other(48, 64, 3);
  Observation changed = base;
  changed.frames[policy.info().cameras[0]] = other.frame();
  EXPECT_NE(policy.infer(changed).values, chunk.values);
  changed = base;
  changed.frames.erase(policy.info().cameras[1]);
  EXPECT_NE(policy.infer(changed).values, chunk.values);
  changed = base;
  changed.state[1] += 0.5;
  EXPECT_NE(policy.infer(changed).values, chunk.values);
  changed = base;
  changed.prompt = "open the drawer";
  EXPECT_NE(policy.infer(changed).values, chunk.values);
  changed = base;
  changed.seed = 8;
  EXPECT_NE(policy.infer(changed).values, chunk.values);
  EXPECT_EQ(policy.infer(base).values, chunk.values);  // nothing of the others is left behind
}

TEST_P(PolicyTest, TokensAndNoiseCanBeGiven) {
  Policy policy = Policy::load(checkpoint_, load_);
  Observation observation = observe(policy);
  const ActionChunk chunk = policy.infer(observation);
  observation.tokens = chunk.tokens;
  observation.prompt.reset();
  EXPECT_EQ(policy.infer(observation).values, chunk.values);

  const auto size = std::size_t(policy.info().chunk * policy.info().max_action_dim);
  observation.noise = std::vector<float>(size, 0.25f);
  EXPECT_NE(policy.infer(observation).values, chunk.values);
  observation.noise->pop_back();
  EXPECT_REFUSED(policy.infer(observation), "the noise has");
  observation.noise = std::vector<float>(size, std::nanf(""));
  EXPECT_REFUSED(policy.infer(observation), "not finite");
}

TEST_P(PolicyTest, StepsAndChunkCanBeAsked) {
  load_.steps = 3;
  load_.chunk = 9;
  Policy policy = Policy::load(checkpoint_, load_);
  EXPECT_EQ(policy.infer(observe(policy)).actions, 9);
  EXPECT_EQ(policy.info().steps, 3);
}

TEST_P(PolicyTest, Bf16IsCloseToF32) {
  load_.precision = Precision::kF32;
  Policy f32 = Policy::load(checkpoint_, load_);
  load_.precision = Precision::kBf16;
  Policy bf16 = Policy::load(checkpoint_, load_);
  const ActionChunk a = f32.infer(observe(f32));
  const ActionChunk b = bf16.infer(observe(bf16));
  double error = 0, norm = 0;
  for (std::size_t i = 0; i < a.values.size(); ++i) {
    error += std::pow(a.values[i] - b.values[i], 2);
    norm += std::pow(a.values[i], 2);
  }
  EXPECT_GT(error, 0);
  EXPECT_LT(std::sqrt(error / norm), 0.05);
}

TEST_P(PolicyTest, AFalseObservationIsNamed) {
  Policy policy = Policy::load(checkpoint_, load_);
  Observation bad = observe(policy);
  bad.frames["nose"] = front_.frame();
  EXPECT_REFUSED(policy.infer(bad), "no camera 'nose'");
  bad = observe(policy);
  bad.frames.clear();
  EXPECT_REFUSED(policy.infer(bad), "no camera frame");
  bad = observe(policy);
  bad.frames[policy.info().cameras[0]].height = 0;
  EXPECT_REFUSED(policy.infer(bad), "is empty");
  bad = observe(policy);
  bad.state[0] = std::nan("");
  EXPECT_REFUSED(policy.infer(bad), "state value 0 is not finite");
  bad = observe(policy);
  bad.state.resize(40);
  EXPECT_REFUSED(policy.infer(bad), "the state has 40 values");
  bad = observe(policy);
  bad.tokens = std::vector<int>{2};
  EXPECT_REFUSED(policy.infer(bad), "both a prompt and its tokens");
  bad.tokens.reset();
  bad.prompt.reset();
  EXPECT_REFUSED(policy.infer(bad), "neither a prompt nor its tokens");
  bad.tokens = std::vector<int>{2, 512};
  EXPECT_REFUSED(policy.infer(bad), "prompt token 512");
  bad.tokens = std::vector<int>{};
  EXPECT_REFUSED(policy.infer(bad), "tokens is empty");
}

TEST_P(PolicyTest, ALongPromptIsCutWithAWarning) {
  load_.max_prompt_tokens = 5;
  Policy policy = Policy::load(checkpoint_, load_);
  const ActionChunk chunk = policy.infer(observe(policy));
  EXPECT_EQ(chunk.tokens.size(), 5u);
  ASSERT_EQ(chunk.warnings.size(), 1u);
  EXPECT_NE(chunk.warnings[0].find("is cut to 5"), std::string::npos);
}

TEST_P(PolicyTest, WithoutATokenizerTokensStillWork) {
  // An empty home, so that no cache of this machine is found.
  ::setenv("HOME", directory_.path().c_str(), 1);
  for (const char* name : {"HF_HOME", "HF_HUB_CACHE", "OPENPI_DATA_HOME", "SACCADE_TOKENIZER"}) {
    ::unsetenv(name);
  }
  Policy policy = Policy::load(checkpoint_, {});
  Observation observation = observe(policy);
  EXPECT_REFUSED(policy.infer(observation), "paligemma_tokenizer.model");
  observation.prompt.reset();
  observation.tokens = std::vector<int>{2, 17, 5};
  EXPECT_EQ(policy.infer(observation).tokens.size(), 3u);
}

/// Writes the checkpoint's weights again, with a change.
void rewrite(const fs::path& weights,
             const std::function<void(std::vector<io::WeightInfo>&)>& change_list,
             const std::function<void(const std::string&, std::vector<std::byte>&)>& change_bytes) {
  const fs::path changed = weights.parent_path() / "changed.safetensors";
  {
    const io::SafetensorsFile file(weights);
    std::vector<io::WeightInfo> tensors;
    for (const auto& [name, entry] : file.entries()) tensors.push_back(entry.info);
    change_list(tensors);
    io::write_safetensors(
        changed, {}, tensors, [&](const io::WeightInfo& info, const io::ByteSink& sink) {
          std::vector<std::byte> bytes(info.bytes());
          if (file.entries().count(info.name) > 0) {
            const auto old = file.bytes(file.entry(info.name));
            std::copy_n(old.begin(), std::min(old.size(), bytes.size()), bytes.begin());
          }
          change_bytes(info.name, bytes);
          sink(bytes);
        });
  }
  fs::rename(changed, weights);
}

const auto kSameList = [](std::vector<io::WeightInfo>&) {};
const auto kSameBytes = [](const std::string&, std::vector<std::byte>&) {};

TEST_P(PolicyTest, AWeightThatIsNotFiniteIsNamed) {
  rewrite(checkpoint_ / "model.safetensors", kSameList, [](const std::string& name, auto& bytes) {
    if (name.find("layers.1.self_attn.v_proj.weight") == std::string::npos) return;
    const bf16 nan{0x7fc0};
    std::memcpy(bytes.data() + bytes.size() - 2, &nan, 2);
  });
  EXPECT_REFUSED(Policy::load(checkpoint_, load_),
                 "layers.1.self_attn.v_proj.weight holds a value");
  load_.device = Device::kCpu;
  load_.precision = Precision::kFp8;
  EXPECT_REFUSED(Policy::load(checkpoint_, load_),
                 "layers.1.self_attn.v_proj.weight holds a value");
}

TEST_P(PolicyTest, EveryTensorThatDoesNotFitIsReportedAtOnce) {
  rewrite(
      checkpoint_ / "model.safetensors",
      [](std::vector<io::WeightInfo>& tensors) {
        std::erase_if(tensors, [](const io::WeightInfo& info) {
          return info.name.ends_with("action_out_proj.bias") ||
                 info.name.ends_with("gemma_expert.model.layers.0.mlp.up_proj.weight");
        });
        for (io::WeightInfo& info : tensors) {
          if (info.name.ends_with("action_out_proj.weight")) info.extents[1] += 1;
        }
        tensors.push_back({"somebody.elses.weight", io::FileDType::kF32, {3}});
      },
      kSameBytes);
  const std::string report = io::error_of([&] { Policy::load(checkpoint_, load_); });
  for (const char* part :
       {"2 missing", "action_out_proj.bias", "layers.0.mlp.up_proj.weight", "1 of another shape",
        "action_out_proj.weight is [", "1 unexpected", "somebody.elses.weight"}) {
    EXPECT_NE(report.find(part), std::string::npos) << part << " is not in: " << report;
  }
}

TEST_P(PolicyTest, TheWrongModelIsNamed) {
  load_.model = GetParam().first == Model::kPi0 ? Model::kPi05 : Model::kPi0;
  EXPECT_REFUSED(Policy::load(checkpoint_, load_), "holds the weights of");
}

INSTANTIATE_TEST_SUITE_P(Synthetic, PolicyTest,
                         ::testing::Values(std::pair(Model::kPi0, SynthLayout::kLerobot),
                                           std::pair(Model::kPi0, SynthLayout::kOpenpi),
                                           std::pair(Model::kPi05, SynthLayout::kLerobot),
                                           std::pair(Model::kPi05, SynthLayout::kOpenpi)),
                         [](const auto& info) {
                           return std::string(name_of(info.param.first)) +
                                  (info.param.second == SynthLayout::kLerobot ? "_lerobot"
                                                                              : "_openpi");
                         });

TEST(Load, NamesAPathThatIsNoCheckpoint) {
  EXPECT_REFUSED(Policy::load("/no/such/checkpoint"), "/no/such/checkpoint");
}

}  // namespace
}  // namespace saccade
