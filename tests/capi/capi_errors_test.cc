#include <cmath>
#include <thread>

#include "capi_fixture.h"
#include "cuda/device.h"

namespace saccade {
namespace {

TEST_F(CapiTest, EachWrongArgumentIsNamed) {
  client_.observation.frame_count = 1;
  client_.frames[0].camera = "rear";
  expect_refused({"rear", "front"});
  client_.frames[0] = {};
  expect_refused({"observation.frames[0].pixels", "NULL"});
  client_.frames[0].pixels = front_.data();
  expect_refused({"observation.frames[0] is 0 x 0"});
  client_.frames[0].height = 48;
  client_.frames[0].width = -64;
  expect_refused({"observation.frames[0] is 48 x -64"});
  client_.frames[0].width = 1 << 30;
  expect_refused({"observation.frames[0] is 48 x 1073741824"});
  client_.frames[0].width = 64;
  client_.frames[0].row_stride = 191;
  expect_refused({"observation.frames[0].row_stride is 191", "192"});
  client_.frames[0].row_stride = -192;
  expect_refused({"row_stride is -192"});
  client_.frames[0].row_stride = 0;
  client_.frames[0].camera_index = 2;
  expect_refused({"observation.frames[0].camera_index is 2", "2 cameras"});
  client_.frames[0].camera_index = -1;
  expect_refused({"camera_index is -1"});
  client_.frames[0].camera_index = 1;
  client_.frames[0].camera = "front";
  expect_refused({"observation.frames[0] has a camera and a camera_index"});
  client_.frames[0].camera_index = 0;
  client_.frames[0].reserved[1] = 1;
  expect_refused({"observation.frames[0].reserved"});
  client_.frames[0].reserved[1] = 0;
  client_.frames[0].memory = 2;
  expect_refused({"observation.frames[0].memory is 2", "host memory"}, SACCADE_NOT_SUPPORTED);
  client_.frames[0].memory = SACCADE_DEVICE_MEMORY;
  expect_refused({"camera 'front' is in GPU memory", "the policy runs on the CPU"});
  client_.frames[0].memory = SACCADE_HOST_MEMORY;
  ASSERT_EQ(infer(), SACCADE_OK) << saccade_error_message();

  client_.observation.frame_count = 2;
  client_.frames[1].camera_index = 0;
  expect_refused({"front' is given twice"});
  client_.frames[1].camera = "front";
  expect_refused({"observation.frames[1] is a second frame of camera 'front'"});
  client_.observation.frame_count = 0;
  expect_refused({"no camera frame", "front", "wrist"});
  client_.observation.frames = nullptr;
  expect_refused({"no camera frame"});
  client_.observation.frame_count = 2;
  expect_refused({"observation.frames is NULL", "2"});
}

TEST_F(CapiTest, WrongStatePromptTokensAndNoiseAreNamed) {
  const saccade_observation good = client_.observation;
  saccade_observation& observation = client_.observation;
  observation.state_count = 13;
  expect_refused({"state", "13", "14"});
  observation.state = nullptr;
  expect_refused({"observation.state is NULL", "13"});
  observation = good;
  client_.state[3] = NAN;
  expect_refused({"state"});
  client_.state[3] = 0;

  const std::int32_t tokens[] = {2, 512};
  observation.tokens = tokens;
  observation.token_count = 2;
  expect_refused({"both a prompt and its tokens"});
  observation.prompt = nullptr;
  expect_refused({"prompt token 512"});
  observation.token_count = 0;
  expect_refused({"tokens is empty"});
  observation.tokens = nullptr;
  expect_refused({"neither a prompt nor its tokens"});
  observation.token_count = 3;
  expect_refused({"observation.tokens is NULL", "3"});
  observation = good;

  std::vector<float> noise(6 * 32, 0.5f);
  observation.noise_count = noise.size();
  expect_refused({"observation.noise is NULL", "192"});
  observation.noise = noise.data();
  observation.noise_count = 191;
  expect_refused({"noise has 191 values", "[6, 32]"});
  observation.noise_count = 192;
  noise[5] = INFINITY;
  expect_refused({"noise", "not finite"});
  noise[5] = 0;
  EXPECT_EQ(infer(), SACCADE_OK) << saccade_error_message();
}

TEST_F(CapiTest, WrongBuffersAreNamed) {
  const saccade_chunk good = client_.chunk;
  client_.chunk.value_capacity = 83;
  expect_refused({"chunk.value_capacity is 83", "6 x 14"});
  client_.chunk.values = nullptr;
  expect_refused({"chunk.values must not be NULL"});
  client_.chunk = good;
  client_.chunk.tokens = nullptr;
  expect_refused({"chunk.tokens is NULL", "256"});
  client_.chunk = good;
  client_.chunk.times = nullptr;
  expect_refused({"chunk.times is NULL"});
  client_.chunk = good;
  client_.chunk.warnings = nullptr;
  expect_refused({"chunk.warnings is NULL"});
  client_.chunk = good;
  client_.chunk.size = 0;
  expect_refused({"chunk.size", "104", "it is 0"});

  EXPECT_EQ(saccade_infer(policy_, nullptr, &client_.chunk), SACCADE_INVALID_ARGUMENT);
  expect_message({"observation must not be NULL"});
  EXPECT_EQ(saccade_infer(policy_, &client_.observation, nullptr), SACCADE_INVALID_ARGUMENT);
  expect_message({"chunk must not be NULL"});
  EXPECT_EQ(saccade_infer(nullptr, &client_.observation, &client_.chunk), SACCADE_INVALID_ARGUMENT);
  expect_message({"policy must not be NULL"});
}

TEST_F(CapiTest, FalseRealTimeChunkingIsNamed) {
  const std::vector<float> previous(7 * 14);
  saccade_realtime realtime{};
  client_.observation.realtime = &realtime;
  expect_refused({"observation.realtime.size", "48", "it is 0"});
  realtime.size = sizeof(realtime);
  expect_refused({"observation.realtime.mode is 0", "SACCADE_REALTIME_GUIDED"});
  realtime.mode = SACCADE_REALTIME_TRAINED;
  expect_refused({"SACCADE_REALTIME_TRAINED", "guided"}, SACCADE_NOT_SUPPORTED);
  realtime.mode = SACCADE_REALTIME_GUIDED;
  realtime.previous_action_count = 3;
  expect_refused({"observation.realtime.previous_actions is NULL", "42"});
  realtime.previous_actions = previous.data();
  const saccade_realtime good = realtime;
  realtime.previous_action_count = 7;
  expect_refused({"observation.realtime.previous_action_count is 7", "6"});
  realtime.previous_action_count = -1;
  expect_refused({"observation.realtime.previous_action_count is -1"});
  realtime = good;
  realtime.schedule = 4;
  expect_refused({"observation.realtime.schedule is 4", "from 0 to 3"});
  realtime = good;
  realtime.reserved = 1;
  expect_refused({"observation.realtime.reserved must be 0"});
  realtime = good;
  realtime.inference_delay = 6;
  expect_refused({"the inference delay is 6", "6"});
  realtime = good;
  realtime.max_guidance_weight = -1;
  expect_refused({"the guidance weight is -1"});
  realtime = good;
  EXPECT_EQ(infer(), SACCADE_OK) << saccade_error_message();
}

TEST_F(CapiTest, NullIsRefusedWhereAPointerMustBe) {
  saccade_policy* policy = nullptr;
  saccade_info info{};
  const char* json = nullptr;
  saccade_stats stats{};
  const auto refused = [](saccade_status status, const char* part) {
    EXPECT_EQ(status, SACCADE_INVALID_ARGUMENT);
    expect_message({part});
  };
  refused(saccade_load(nullptr, nullptr, 0, &policy), "checkpoint must not be NULL");
  refused(saccade_load("x", nullptr, 0, nullptr), "policy must not be NULL");
  refused(saccade_load("x", nullptr, 1, &policy), "options is NULL");
  refused(saccade_get_info(nullptr, &info), "policy must not be NULL");
  refused(saccade_get_info(policy_, nullptr), "info must not be NULL");
  refused(saccade_get_info(policy_, &info), "info.size");
  refused(saccade_describe(nullptr, &json), "policy must not be NULL");
  refused(saccade_describe(policy_, nullptr), "json must not be NULL");
  refused(saccade_get_stats(nullptr, &stats), "policy must not be NULL");
  refused(saccade_get_stats(policy_, nullptr), "stats must not be NULL");
  refused(saccade_get_stats(policy_, &stats), "stats.size");
  stats.size = sizeof(stats);
  stats.stage_capacity = 2;
  refused(saccade_get_stats(policy_, &stats), "stats.stages is NULL");
  EXPECT_EQ(saccade_stream(nullptr), nullptr);
  saccade_free(nullptr);
}

TEST_F(CapiTest, WrongOptionsAreNamed) {
  const auto load = [](saccade_option option) {
    saccade_policy* policy = nullptr;
    const saccade_status status = saccade_load(checkpoint().c_str(), &option, 1, &policy);
    EXPECT_EQ(policy == nullptr, status != SACCADE_OK);
    saccade_free(policy);
    return status;
  };
  const saccade_option wrong[] = {
      {"model", "pi1"},
      {"mode", ""},
      {"device", "tpu"},
      {"precision", "f64"},
      {"precision", "prefix=f16"},
      {"steps", "0"},
      {"steps", "-3"},
      {"steps", "ten"},
      {"steps", "3.5"},
      {"steps", ""},
      {"chunk", "1e2"},
      {"chunk", "99999999999"},
      {"vision_heads", "x"},
      {"max_prompt_tokens", " 5"},
      {"tokenizer", "/nowhere"},
      {"statistics", "/nowhere"},
      {"openpi_config", "no_such_config"},
      {"Steps", "3"},
      {"", "3"},
  };
  for (const saccade_option& option : wrong) {
    EXPECT_EQ(load(option), SACCADE_INVALID_ARGUMENT) << option.key << '=' << option.value;
    expect_message({*option.value == 0 ? option.key : option.value});
  }
  EXPECT_EQ(load({"steps", nullptr}), SACCADE_INVALID_ARGUMENT);
  expect_message({"options[0].value must not be NULL", "steps"});
  EXPECT_EQ(load({nullptr, "3"}), SACCADE_INVALID_ARGUMENT);
  expect_message({"options[0].key must not be NULL"});
  saccade_policy* policy = nullptr;
  EXPECT_EQ(saccade_load("/nowhere", nullptr, 0, &policy), SACCADE_INVALID_ARGUMENT);
  expect_message({"/nowhere"});
}

TEST_F(CapiTest, AMissingDeviceHasItsOwnStatus) {
  if (cuda::device_is_there()) GTEST_SKIP() << "needs a machine without a GPU";
  const saccade_option option{"device", "cuda"};
  saccade_policy* policy = nullptr;
  EXPECT_EQ(saccade_load(checkpoint().c_str(), &option, 1, &policy), SACCADE_DEVICE_ERROR);
}

TEST_F(CapiTest, MessagesBelongToTheirThread) {
  EXPECT_EQ(saccade_describe(nullptr, nullptr), SACCADE_INVALID_ARGUMENT);
  const std::string before = saccade_error_message();
  std::thread([] {
    EXPECT_STREQ(saccade_error_message(), "");
    saccade_policy* policy = nullptr;
    EXPECT_EQ(saccade_load("/elsewhere", nullptr, 0, &policy), SACCADE_INVALID_ARGUMENT);
    expect_message({"/elsewhere"});
  }).join();
  EXPECT_EQ(saccade_error_message(), before);
}

}  // namespace
}  // namespace saccade
