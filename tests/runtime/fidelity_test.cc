#include "runtime/fidelity.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "core/f16.h"
#include "io/safetensors.h"
#include "io/temp_files.h"
#include "runtime/loaded_policy.h"
#include "runtime/observations.h"
#include "runtime/synth.h"

namespace saccade {
namespace {

namespace fs = std::filesystem;

TEST(ErrorSums, AreWhatOneCountsByHand) {
  ErrorSums sums;
  sums.add(3, 4);
  sums.add(-1, 0);
  EXPECT_DOUBLE_EQ(sums.relative(), std::sqrt(2.0) / 4);
  EXPECT_DOUBLE_EQ(sums.cosine(), 12 / std::sqrt(16.0 * 10));
  EXPECT_EQ(sums.max_abs, 1);
  sums.add(NAN, 1);
  sums.add(9, 0);
  EXPECT_TRUE(std::isnan(sums.max_abs));
  EXPECT_TRUE(std::isnan(sums.relative()));
  EXPECT_EQ(ErrorSums{}.cosine(), 1);
}

TEST(ValueCounts, CountsWhatIsNoOrdinaryNumber) {
  float f32[] = {1, NAN, INFINITY, 65504};
  std::vector<f16> half;
  for (const float value : {65504.0f, -1e6f, 1.0f, NAN}) half.push_back(from_float<f16>(value));
  ValueCounts counts;
  counts.add({f32, {4}, DType::kF32, Device::kCpu});
  EXPECT_EQ(counts.non_finite, 2u);
  EXPECT_EQ(counts.saturated, 0u);
  counts.add({half.data(), {2, 2}, DType::kF16, Device::kCpu});
  EXPECT_EQ(counts.values, 8u);
  EXPECT_EQ(counts.non_finite, 3u);
  EXPECT_EQ(counts.saturated, 2u);
}

class FidelityTest : public ::testing::TestWithParam<Model> {
 protected:
  FidelityTest() {
    SynthOptions synth;
    synth.model = GetParam();
    synthesize_checkpoint(checkpoint_, synth);
    options_.load.device = Device::kCpu;
    options_.load.steps = 3;
    options_.count = 2;
  }

  FidelityReport in(const Precisions& precision) {
    options_.load.precision = precision;
    return fidelity(checkpoint_, options_);
  }

  /// A frame, and an observation of two of them as a safetensors file.
  static io::Image picture(int height, int width) {
    io::Image image{height, width, {}};
    for (int i = 0; i < height * width * 3; ++i) image.pixels.push_back(std::uint8_t(i * 7 % 251));
    return image;
  }

  struct Part {
    io::WeightInfo info;
    std::vector<std::byte> bytes;
  };
  template <typename T>
  static Part part(const std::string& name, io::FileDType dtype, std::vector<std::int64_t> extents,
                   const std::vector<T>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    return {{name, dtype, std::move(extents)}, {bytes.begin(), bytes.end()}};
  }
  void write(const std::string& name, const std::vector<Part>& parts,
             const std::map<std::string, std::string>& metadata = {}) const {
    fs::create_directories(recorded_);
    std::vector<io::WeightInfo> infos;
    for (const Part& p : parts) infos.push_back(p.info);
    io::write_safetensors(recorded_ / name, metadata, infos,
                          [&](const io::WeightInfo& info, const io::ByteSink& sink) {
                            for (const Part& p : parts) {
                              if (p.info.name == info.name) sink(p.bytes);
                            }
                          });
  }
  static std::vector<Part> good_parts() {
    return {part("front", io::FileDType::kU8, {24, 32, 3}, picture(24, 32).pixels),
            part("wrist", io::FileDType::kU8, {3, 20, 30}, picture(20, 30).pixels),
            part("state", io::FileDType::kF32, {14}, std::vector<float>(14, 0.1f)),
            part("tokens", io::FileDType::kI64, {3}, std::vector<std::int64_t>{2, 17, 5})};
  }

  io::TempDirectory directory_;
  fs::path checkpoint_ = directory_.path() / "policy";
  fs::path recorded_ = directory_.path() / "recorded";
  FidelityOptions options_;
};

TEST_P(FidelityTest, SeesEveryStageAndTheErrorOfBf16) {
  const FidelityReport report = in(Precision::kBf16);
  std::set<std::string> seen;
  for (const StageFidelity& stage : report.stages) {
    EXPECT_TRUE(seen.insert(stage.stage).second) << stage.stage;
    EXPECT_GT(stage.counts.values, 0u);
    EXPECT_EQ(stage.counts.non_finite, 0u);
    EXPECT_EQ(stage.reference_non_finite, 0u);
    EXPECT_LT(stage.errors.relative(), 0.03) << stage.stage;
    EXPECT_GT(stage.errors.cosine(), 0.999) << stage.stage;
  }
  for (const char* stage : {"vision.0", "vision.1", "prefix.embs", "kv.0.k", "kv.2.v",
                            "step.0.suffix_in", "step.2.v", "actions"}) {
    EXPECT_EQ(seen.count(stage), 1u) << stage;
  }
  EXPECT_EQ(report.stages.back().stage, "actions");
  EXPECT_GT(report.action_error(), 1e-5);
  EXPECT_LT(report.action_error(), 0.01);
  EXPECT_EQ(report.against, Precisions(Precision::kF32));
  EXPECT_EQ(report.observations, 2);
  EXPECT_EQ(report.stages.back().counts.values, 2u * 6 * 14);

  ASSERT_EQ(report.joints.size(), 14u);
  EXPECT_EQ(report.joints[6].name, "left_gripper");
  for (const JointError& joint : report.joints) {
    EXPECT_GT(joint.span, 0.1);
    EXPECT_GT(joint.max_abs, 0);
    EXPECT_LT(joint.max_abs, 0.1 * joint.span);
    EXPECT_LE(joint.rms, joint.max_abs);
  }
}

TEST_P(FidelityTest, E4m3IsCoarserThanBf16InTheStagesThatItComputes) {
  const FidelityReport bf16 = in(Precision::kBf16);
  const FidelityReport expert = in({Precision::kBf16, Precision::kBf16, Precision::kFp8});
  const FidelityReport fp8 = in(Precision::kFp8);
  const auto error = [](const FidelityReport& report, const std::string& name) {
    for (const StageFidelity& stage : report.stages) {
      if (stage.stage == name) return stage.errors.relative();
    }
    return -1.0;
  };
  EXPECT_EQ(error(fp8, "prefix.embs"), error(bf16, "prefix.embs"));
  EXPECT_EQ(error(expert, "kv.2.v"), error(bf16, "kv.2.v"));
  EXPECT_GT(error(fp8, "kv.0.k"), 5 * error(bf16, "kv.0.k"));
  EXPECT_LT(error(fp8, "kv.0.k"), 0.06);  // two operands with errors of up to 2^-4
  EXPECT_GT(error(expert, "step.0.v"), 2 * error(bf16, "step.0.v"));
  EXPECT_LT(fp8.action_error(), 0.2);
  std::set<std::string> inside;
  for (const InsideCounts& counted : fp8.inside) {
    inside.insert(counted.name);
    EXPECT_GT(counted.counts.values, 0u);
    EXPECT_EQ(counted.counts.non_finite, 0u);
  }
  EXPECT_EQ(inside.count("prefix hidden scales") + inside.count("vision hidden"), 2u);
}

TEST_P(FidelityTest, IsTheSameTwiceAndHangsOnTheSeed) {
  const FidelityReport first = in(Precision::kBf16);
  EXPECT_EQ(in(Precision::kBf16).action_error(), first.action_error());
  options_.seed = 7;
  EXPECT_NE(in(Precision::kBf16).action_error(), first.action_error());
}

TEST_P(FidelityTest, CountsValuesThatAreNotFinite) {
  // A huge scale of the last norm: the products behind it overflow f32 in every precision.
  const fs::path file = checkpoint_ / "model.safetensors";
  std::string bytes = io::read_file(file);
  {
    const io::SafetensorsFile weights(file);
    const auto& entry = weights.entry("model.action_out_proj.weight");
    const float huge = 3e38f;
    for (std::uint64_t i = 0; i < entry.info.bytes(); i += 4) {
      std::memcpy(bytes.data() + entry.begin + i, &huge, 4);
    }
  }
  directory_.write("policy/model.safetensors", bytes);
  const FidelityReport report = in(Precision::kBf16);
  EXPECT_GT(report.stages.back().counts.non_finite, 0u);
  EXPECT_GT(report.stages.back().reference_non_finite, 0u);
  EXPECT_TRUE(std::isnan(report.action_error()));
  EXPECT_TRUE(report.joints.empty());
}

TEST_P(FidelityTest, ReadsRecordedObservations) {
  write("b.safetensors", good_parts());
  auto parts = good_parts();
  parts.erase(parts.begin() + 1);  // without the wrist's camera
  write("a.safetensors", parts);
  directory_.write("recorded/notes.txt", "not an observation");
  options_.observations = recorded_;
  options_.count.reset();
  const FidelityReport report = in(Precision::kBf16);
  EXPECT_EQ(report.observations, 2);
  EXPECT_EQ(report.available, 2);
  std::map<std::string, std::uint64_t> values;
  for (const StageFidelity& stage : report.stages) values[stage.stage] = stage.counts.values;
  EXPECT_EQ(values["vision.0"], 2 * values["vision.1"]);
  EXPECT_EQ(report.stages[1].stage, "vision.1");
  options_.count = 1;
  EXPECT_EQ(in(Precision::kBf16).observations, 1);
}

TEST_P(FidelityTest, ReadsBothOrdersOfAxesAndJson) {
  write("a.safetensors", good_parts(), {{"prompt", "go"}});
  const StoredObservation stored = read_observation(recorded_ / "a.safetensors");
  EXPECT_EQ(stored.observation.prompt, "go");
  EXPECT_EQ(stored.observation.tokens, (std::vector<int>{2, 17, 5}));
  const Frame& front = stored.observation.frames.at("front");
  const Frame& wrist = stored.observation.frames.at("wrist");
  EXPECT_EQ(std::pair(front.height, front.width), std::pair(24, 32));
  EXPECT_EQ(std::pair(wrist.height, wrist.width), std::pair(20, 30));
  const io::Image channels_first = picture(20, 30);
  EXPECT_EQ(wrist.pixels[0], channels_first.pixels[0]);
  EXPECT_EQ(wrist.pixels[1], channels_first.pixels[600]);
  EXPECT_EQ(wrist.pixels[3], channels_first.pixels[1]);

  directory_.write("recorded/b.json", R"({"state": [0.5, -1], "tokens": [3], "images": {}})");
  const StoredObservation json = read_observation(recorded_ / "b.json");
  EXPECT_EQ(json.observation.state, (std::vector<double>{0.5, -1}));
  EXPECT_EQ(json.observation.tokens, std::vector<int>{3});
}

TEST_P(FidelityTest, RefusesBadObservationsByName) {
  options_.observations = recorded_;
  EXPECT_REFUSED(in(Precision::kBf16), "cannot read the directory");
  fs::create_directories(recorded_);
  EXPECT_REFUSED(in(Precision::kBf16), "holds no observation");
  const auto refuse = [&](const Part& replaced, std::string_view sentence) {
    auto parts = good_parts();
    std::erase_if(parts, [&](const Part& p) { return p.info.name == replaced.info.name; });
    parts.push_back(replaced);
    write("a.safetensors", parts);
    EXPECT_REFUSED(in(Precision::kBf16), sentence);
    EXPECT_REFUSED(in(Precision::kBf16), "a.safetensors");
  };
  using io::FileDType;
  refuse(part("front", FileDType::kF32, {2, 2, 3}, std::vector<float>(12)), "it is F32 [2, 2, 3]");
  refuse(part("front", FileDType::kU8, {2, 6}, std::vector<std::uint8_t>(12)), "it is U8 [2, 6]");
  refuse(part("front", FileDType::kU8, {0, 6, 3}, std::vector<std::uint8_t>{}), "too small");
  refuse(part("rear", FileDType::kU8, {2, 2, 3}, std::vector<std::uint8_t>(12)),
         "no camera 'rear'");
  refuse(part("state", FileDType::kF32, {3}, std::vector<float>(3)), "the state has 3 values");
  refuse(part("state", FileDType::kU8, {14}, std::vector<std::uint8_t>(14)), "it is U8");
  refuse(part("tokens", FileDType::kF32, {1}, std::vector<float>{1.5f}), "whole numbers");
  refuse(part("tokens", FileDType::kI32, {1}, std::vector<int>{512}), "outside the vocabulary");
  refuse(part("noise", FileDType::kF32, {3}, std::vector<float>(3)), "the noise has 3 values");
  fs::remove(recorded_ / "a.safetensors");
  directory_.write("recorded/a.json", R"({"picture": 1})");
  EXPECT_REFUSED(in(Precision::kBf16), "'picture' is not known");
  directory_.write("recorded/a.json", R"({"images": {"front": "../front.jpg"}})");
  EXPECT_REFUSED(in(Precision::kBf16), "must be a file beside it");
  directory_.write("recorded/a.json", R"({"state": [1, "x"]})");
  EXPECT_REFUSED(in(Precision::kBf16), "an array of numbers");
  directory_.write("recorded/a.json", R"({"tokens": [1.5]})");
  EXPECT_REFUSED(in(Precision::kBf16), "whole numbers");
}

TEST_P(FidelityTest, RefusesAComparisonWithItself) {
  EXPECT_REFUSED(in(Precision::kF32), "compared with itself");
  options_.count = 0;
  EXPECT_REFUSED(in(Precision::kBf16), "from 1 to 1000, got 0");
}

TEST_P(FidelityTest, MadeUpStatesLieInTheInnerHalfOfTheirRange) {
  const LoadedPolicy policy(plan_policy(checkpoint_, options_.load));
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const StoredObservation made = make_observation(policy.config, policy.info, 512, seed);
    EXPECT_EQ(made.observation.frames.size(), 2u);
    EXPECT_GE(made.observation.tokens->size(), 5u);
    const PreparedState state =
        prepare_state(policy.config, made.observation.state, policy.info.max_state_dim);
    ASSERT_EQ(state.normalized.size(), 14u);
    for (const double value : state.normalized) EXPECT_LE(std::abs(value), 0.501);
  }
}

INSTANTIATE_TEST_SUITE_P(Models, FidelityTest, ::testing::Values(Model::kPi0, Model::kPi05),
                         [](const auto& info) { return std::string(name_of(info.param)); });

}  // namespace
}  // namespace saccade
