#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string_view>
#include <thread>
#include <vector>

#include "capi_fixture.h"
#include "saccade/policy.h"

namespace saccade {
namespace {

TEST_F(CapiTest, GivesTheBitsOfTheCppInterface) {
  LoadOptions load;
  load.device = Device::kCpu;
  load.tokenizer = kTokenizer;
  Policy policy = Policy::load(checkpoint(), load);
  Observation observation;
  observation.frames["front"] = {front_.data(), 48, 64};
  observation.frames["wrist"] = {wrist_.data(), 64, 48};
  for (int i = 0; i < 14; ++i) observation.state.push_back(0.1 * i - 0.3);
  observation.prompt = "pick up the red cube";
  observation.seed = 7;
  const ActionChunk expected = policy.infer(observation);

  ASSERT_EQ(infer(), SACCADE_OK) << saccade_error_message();
  EXPECT_TRUE(same_bits(values_, expected.values));
  EXPECT_EQ(client_.chunk.actions, expected.actions);
  EXPECT_EQ(client_.chunk.action_dim, expected.action_dim);
  ASSERT_EQ(client_.chunk.token_count, expected.tokens.size());
  EXPECT_TRUE(std::equal(expected.tokens.begin(), expected.tokens.end(), client_.tokens));
  ASSERT_EQ(client_.chunk.time_count, expected.times.size() + 1);
  double sum = 0;
  for (std::size_t i = 0; i < expected.times.size(); ++i) {
    EXPECT_EQ(client_.times[i].stage, expected.times[i].stage);
    sum += client_.times[i].ms;
  }
  EXPECT_STREQ(client_.times[expected.times.size()].stage, "total");
  EXPECT_GE(client_.times[expected.times.size()].ms, sum);
  EXPECT_STREQ(client_.warnings, "");
  EXPECT_EQ(client_.chunk.warning_bytes, 0u);

  // Tokens and noise in place of the prompt and the seed.
  std::vector<int> tokens{2, 17, 5};
  std::vector<float> noise(6 * 32);
  for (std::size_t i = 0; i < noise.size(); ++i) noise[i] = std::sin(float(i));
  observation.prompt.reset();
  observation.tokens = tokens;
  observation.noise = noise;
  client_.observation.prompt = nullptr;
  client_.observation.tokens = tokens.data();
  client_.observation.token_count = tokens.size();
  client_.observation.noise = noise.data();
  client_.observation.noise_count = noise.size();
  ASSERT_EQ(infer(), SACCADE_OK) << saccade_error_message();
  EXPECT_FALSE(same_bits(values_, expected.values));
  EXPECT_TRUE(same_bits(values_, policy.infer(observation).values));
}

TEST_F(CapiTest, RowsMayHaveGaps) {
  ASSERT_EQ(infer(), SACCADE_OK);
  const std::vector<float> expected = values_;
  constexpr std::size_t kRow = 64 * 3;
  constexpr std::size_t kStride = kRow + 5;
  // Ends with the last pixel: a read of a gap behind it is found by AddressSanitizer.
  std::vector<std::uint8_t> gaps(47 * kStride + kRow, 255);
  for (std::size_t y = 0; y < 48; ++y) {
    std::copy_n(front_.begin() + std::ptrdiff_t(y * kRow), kRow,
                gaps.begin() + std::ptrdiff_t(y * kStride));
  }
  client_.frames[0].pixels = gaps.data();
  client_.frames[0].row_stride = kStride;
  ASSERT_EQ(infer(), SACCADE_OK) << saccade_error_message();
  EXPECT_TRUE(same_bits(values_, expected));
}

TEST_F(CapiTest, BuffersMayBeShortOrAbsent) {
  ASSERT_EQ(infer(), SACCADE_OK);
  const std::vector<float> expected = values_;
  const std::vector<int> tokens(client_.tokens, client_.tokens + client_.chunk.token_count);
  std::fill(std::begin(client_.tokens), std::end(client_.tokens), -1);
  client_.chunk.token_capacity = 1;
  client_.chunk.time_capacity = 0;
  client_.chunk.times = nullptr;
  client_.chunk.warnings = nullptr;
  client_.chunk.warning_capacity = 0;
  ASSERT_EQ(infer(), SACCADE_OK) << saccade_error_message();
  EXPECT_TRUE(same_bits(values_, expected));
  EXPECT_EQ(client_.chunk.token_count, tokens.size());
  EXPECT_EQ(client_.tokens[0], tokens[0]);
  EXPECT_EQ(client_.tokens[1], -1);
  EXPECT_GT(client_.chunk.time_count, 3u);
}

TEST_F(CapiTest, WarningsAreCutToTheirBuffer) {
  const std::vector<std::int32_t> tokens(300, 5);
  client_.observation.prompt = nullptr;
  client_.observation.tokens = tokens.data();
  client_.observation.token_count = tokens.size();
  ASSERT_EQ(infer(), SACCADE_OK) << saccade_error_message();
  const std::string warnings = client_.warnings;
  EXPECT_EQ(warnings, "the prompt has 300 tokens and is cut to 200\n");
  EXPECT_EQ(client_.chunk.warning_bytes, warnings.size());
  client_.chunk.warning_capacity = 11;
  std::fill(std::begin(client_.warnings), std::end(client_.warnings), '#');
  ASSERT_EQ(infer(), SACCADE_OK);
  EXPECT_EQ(std::string(client_.warnings, 12), std::string("the prompt\0#", 12));
  EXPECT_EQ(client_.chunk.warning_bytes, warnings.size());
}

TEST_F(CapiTest, DescribesThePolicy) {
  saccade_info info{};
  info.size = sizeof(info);
  ASSERT_EQ(saccade_get_info(policy_, &info), SACCADE_OK);
  EXPECT_STREQ(info.model, "pi05");
  EXPECT_STREQ(info.mode, "lerobot");
  EXPECT_STREQ(info.device, "cpu");
  EXPECT_STREQ(info.precision, "f32");
  EXPECT_STREQ(info.layout, "lerobot");
  EXPECT_EQ(info.chunk, 6);
  EXPECT_EQ(info.action_dim, 14);
  EXPECT_EQ(info.max_action_dim, 32);
  EXPECT_EQ(info.state_dim, 14);
  EXPECT_EQ(info.state_in_prompt, 1);
  ASSERT_EQ(info.camera_count, 2u);
  EXPECT_STREQ(info.cameras[0], "observation.images.front");
  EXPECT_STREQ(info.cameras[1], "observation.images.wrist");
  ASSERT_EQ(info.action_name_count, 14u);
  EXPECT_STREQ(info.action_names[0], "left_waist");
  EXPECT_GT(info.weight_bytes, 0u);
  EXPECT_GT(info.buffer_bytes, 0u);

  const char* text = nullptr;
  ASSERT_EQ(saccade_describe(policy_, &text), SACCADE_OK);
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["cameras"], (std::vector<std::string>(info.cameras, info.cameras + 2)));
  EXPECT_EQ(json["chunk"], 6);
  EXPECT_EQ(json["steps"], info.steps);
  EXPECT_EQ(json["max_prompt_tokens"], info.max_prompt_tokens);
  EXPECT_EQ(json["image_size"], info.image_size);
  EXPECT_EQ(json["parameters"], info.parameters);
  EXPECT_EQ(json["weight_bytes"], info.weight_bytes);
  EXPECT_EQ(json["buffer_bytes"], info.buffer_bytes);
  EXPECT_EQ(json["state_in_prompt"], true);
  EXPECT_EQ(saccade_stream(policy_), nullptr);
  EXPECT_STREQ(saccade_version(), SACCADE_VERSION);
  EXPECT_EQ(saccade_abi_version(), SACCADE_ABI_VERSION);
}

TEST_F(CapiTest, AChunkContinuesThePreviousOne) {
  client_.observation.seed = 8;
  ASSERT_EQ(infer(), SACCADE_OK);
  const std::vector<float> previous = values_;
  client_.observation.seed = 7;
  ASSERT_EQ(infer(), SACCADE_OK);
  const std::vector<float> plain = values_;
  saccade_realtime realtime{};
  realtime.size = sizeof(realtime);
  realtime.mode = SACCADE_REALTIME_GUIDED;
  realtime.inference_delay = 1;
  realtime.execution_horizon = 3;
  realtime.previous_action_count = 4;
  realtime.previous_actions = previous.data() + 2 * 14;
  client_.observation.realtime = &realtime;
  ASSERT_EQ(infer(), SACCADE_OK) << saccade_error_message();
  const std::vector<float> guided = values_;
  const auto distance = [&](const std::vector<float>& values) {
    double sum = 0;
    for (std::size_t i = 0; i < 14; ++i) sum += std::pow(values[i] - previous[2 * 14 + i], 2);
    return std::sqrt(sum);
  };
  EXPECT_LT(distance(guided), 0.15 * distance(plain));
  realtime.schedule = SACCADE_SCHEDULE_LINEAR;
  realtime.max_guidance_weight = 10;
  ASSERT_EQ(infer(), SACCADE_OK);
  EXPECT_TRUE(same_bits(values_, guided));  // as without being given
  realtime.size = 32;  // a caller of the first version, whose memory ends there
  realtime.max_guidance_weight = NAN;
  ASSERT_EQ(infer(), SACCADE_OK);
  EXPECT_TRUE(same_bits(values_, guided));
  realtime.size = sizeof(realtime);
  realtime.max_guidance_weight = 1;
  ASSERT_EQ(infer(), SACCADE_OK);
  EXPECT_FALSE(same_bits(values_, guided));
  realtime.previous_action_count = 0;
  realtime.previous_actions = nullptr;
  ASSERT_EQ(infer(), SACCADE_OK);
  EXPECT_TRUE(same_bits(values_, plain));
}

TEST_F(CapiTest, StructsOfOtherVersionsAreRead) {
  struct Newer {
    saccade_observation known;
    std::uint64_t unknown[2];
  } newer{client_.observation, {0, 0}};
  newer.known.size = sizeof(newer);
  EXPECT_EQ(saccade_infer(policy_, &newer.known, &client_.chunk), SACCADE_OK);
  newer.unknown[1] = std::uint64_t{1} << 63;
  EXPECT_EQ(saccade_infer(policy_, &newer.known, &client_.chunk), SACCADE_NOT_SUPPORTED);
  expect_message({"observation", "does not know"});

  struct NewerInfo {
    saccade_info known;
    std::uint64_t unknown;
  } info{};
  info.known.size = sizeof(info);
  EXPECT_EQ(saccade_get_info(policy_, &info.known), SACCADE_OK);
  EXPECT_EQ(info.known.size, sizeof(info));
  EXPECT_EQ(info.known.chunk, 6);
  EXPECT_EQ(info.unknown, 0u);

  const std::size_t first_size = offsetof(saccade_observation, stream);
  for (const std::size_t size : {std::size_t{0}, first_size - 1, SIZE_MAX}) {
    client_.observation.size = size;
    expect_refused({"observation.size", "104"});
  }
}

// What programs were compiled with stays so: only sizes may grow.
TEST_F(CapiTest, TheLayoutOfStructsIsFrozen) {
  static_assert(sizeof(saccade_option) == 16 && sizeof(saccade_frame) == 56);
  static_assert(offsetof(saccade_frame, pixels) == 16 && offsetof(saccade_frame, height) == 32);
  static_assert(offsetof(saccade_observation, prompt) == 40);
  static_assert(offsetof(saccade_observation, stream) == 96);
  static_assert(sizeof(saccade_observation) == 104);
  static_assert(offsetof(saccade_chunk, actions) == 24 && offsetof(saccade_chunk, times) == 56);
  static_assert(offsetof(saccade_chunk, warning_bytes) + 8 == 104);
  static_assert(offsetof(saccade_info, cameras) == 88);
  static_assert(offsetof(saccade_info, buffer_bytes) + 8 == 160);
  static_assert(offsetof(saccade_info, note_count) + 8 == 176);
  static_assert(offsetof(saccade_realtime, previous_actions) + 8 == 32);
  static_assert(offsetof(saccade_realtime, max_guidance_weight) + 8 == 48);
  static_assert(offsetof(saccade_stats, stage_count) + 8 == 48);
  static_assert(sizeof(saccade_stage_time) == 16 && sizeof(saccade_stage_stats) == 40);
}

TEST_F(CapiTest, OptionsReachThePolicy) {
  const saccade_option options[] = {
      {"model", "pi05"}, {"mode", "openpi"}, {"device", "cpu"},         {"precision", "bf16"},
      {"steps", "3"},    {"chunk", "4"},     {"max_prompt_tokens", "9"}};
  saccade_policy* policy = nullptr;
  ASSERT_EQ(saccade_load(checkpoint().c_str(), options, std::size(options), &policy), SACCADE_OK)
      << saccade_error_message();
  saccade_info info{};
  info.size = sizeof(info);
  ASSERT_EQ(saccade_get_info(policy, &info), SACCADE_OK);
  EXPECT_STREQ(info.mode, "openpi");
  EXPECT_STREQ(info.precision, "bf16");
  EXPECT_EQ(info.steps, 3);
  EXPECT_EQ(info.chunk, 4);
  EXPECT_EQ(info.max_prompt_tokens, 9);
  saccade_free(policy);
}

TEST_F(CapiTest, APrecisionMayBeAMixOrFoundByTrying) {
  const std::vector<std::array<const char*, 3>> cases{
      {"fp8", "fp8", nullptr},
      {"expert=fp8", "vision=bf16,prefix=bf16,expert=fp8", nullptr},
      {"auto:0", "f32", "precision auto takes f32, the fastest"}};
  for (const auto& [text, name, note] : cases) {
    const saccade_option options[] = {{"device", "cpu"}, {"precision", text}};
    saccade_policy* policy = nullptr;
    ASSERT_EQ(saccade_load(checkpoint().c_str(), options, 2, &policy), SACCADE_OK)
        << saccade_error_message();
    saccade_info info{};
    info.size = sizeof(info);
    ASSERT_EQ(saccade_get_info(policy, &info), SACCADE_OK);
    EXPECT_STREQ(info.precision, name);
    ASSERT_EQ(info.note_count, note == nullptr ? 0u : 1u);
    if (note != nullptr) {
      EXPECT_TRUE(std::string_view(info.notes[0]).starts_with(note)) << info.notes[0];
    }
    saccade_free(policy);
  }
}

TEST_F(CapiTest, StatisticsCountInferencesErrorsAndStages) {
  saccade_policy* policy = nullptr;
  ASSERT_EQ(client_load(checkpoint().c_str(), kTokenizer.c_str(), &policy), SACCADE_OK);
  std::vector<saccade_stage_stats> stages(SACCADE_MAX_STAGES);
  saccade_stats stats{};
  stats.size = sizeof(stats);
  stats.stages = stages.data();
  stats.stage_capacity = stages.size();
  ASSERT_EQ(saccade_get_stats(policy, &stats), SACCADE_OK);
  EXPECT_EQ(stats.inferences + stats.errors + stats.stage_count, 0u);

  std::vector<double> totals;
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(saccade_infer(policy, &client_.observation, &client_.chunk), SACCADE_OK);
    totals.push_back(client_.times[client_.chunk.time_count - 1].ms);
  }
  const double last = totals.back();
  client_.observation.frame_count = 0;
  EXPECT_EQ(saccade_infer(policy, &client_.observation, &client_.chunk), SACCADE_INVALID_ARGUMENT);
  ASSERT_EQ(saccade_get_stats(policy, &stats), SACCADE_OK);
  EXPECT_EQ(stats.inferences, 3u);
  EXPECT_EQ(stats.errors, 1u);
  ASSERT_EQ(stats.stage_count, client_.chunk.time_count);
  const saccade_stage_stats& total = stages[stats.stage_count - 1];
  EXPECT_STREQ(total.stage, "total");
  EXPECT_EQ(total.count, 3u);
  std::sort(totals.begin(), totals.end());
  EXPECT_EQ(total.last_ms, last);
  EXPECT_EQ(total.p50_ms, totals[1]);
  EXPECT_EQ(total.p99_ms, totals[2]);

  stages[1].stage = nullptr;
  stats.stage_capacity = 1;
  ASSERT_EQ(saccade_get_stats(policy, &stats), SACCADE_OK);
  EXPECT_EQ(stats.stage_count, client_.chunk.time_count);
  EXPECT_EQ(stages[1].stage, nullptr);
  saccade_free(policy);
}

TEST_F(CapiTest, CallsOfSeveralThreadsWaitForEachOther) {
  ASSERT_EQ(infer(), SACCADE_OK);
  const std::vector<float> expected = values_;
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      std::vector<float> values(6 * 14);
      client_inference client{};
      client_prepare(&client, front_.data(), wrist_.data(), values.data(), values.size());
      for (int i = 0; i < 5; ++i) {
        client.observation.seed = 7 + t % 2;
        const saccade_status status = saccade_infer(policy_, &client.observation, &client.chunk);
        wrong[t] += status != SACCADE_OK || same_bits(values, expected) != (t % 2 == 0);
        saccade_stats stats{};
        stats.size = sizeof(stats);
        wrong[t] += saccade_get_stats(policy_, &stats) != SACCADE_OK;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

}  // namespace
}  // namespace saccade
