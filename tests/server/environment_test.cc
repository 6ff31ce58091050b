#include "server/environment.h"

#include <cmath>

#include "server/messages.h"
#include "server/msgpack.h"

namespace saccade::server {
namespace {

PolicyInfo three_cameras() {
  PolicyInfo info;
  info.cameras = {"base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb"};
  return info;
}

/// An observation and the message that its frames point into.
struct Observed {
  Observed(const Environment& env, const Packed& packed)
      : message(packed.str()),
        decoded(decode_observation(env, decode_message(bytes_of(message)))) {}

  const Observation& operator*() const { return decoded.observation; }
  std::vector<int> pixels(const std::string& camera) const {
    const Frame frame = decoded.observation.frames.at(camera);
    return {frame.pixels, frame.pixels + frame.height * frame.width * 3};
  }

  std::string message;
  DecodedObservation decoded;
};

const std::vector<std::uint8_t> kChannelsFirst{1, 2, 11, 12, 21, 22};  // [3, 1, 2]
const std::vector<std::uint8_t> kChannelsLast{1, 11, 21, 2, 12, 22};   // [1, 2, 3]
const std::vector<int> kPixels(kChannelsLast.begin(), kChannelsLast.end());

Packed& state(Packed& packed, const std::string& key, std::size_t values) {
  packed.text(key);
  return packed.array("<f8", {int(values)}, std::vector<double>(values, 0.5));
}

TEST(Environment, AlohaReadsNestedPicturesInEitherOrderOfAxes) {
  const Environment env = make_environment("aloha", "", three_cameras());
  Packed message;
  message.map(3).text("images").map(3);
  message.text("cam_high").array("|u1", {3, 1, 2}, kChannelsFirst);
  message.text("cam_low").array("|u1", {3, 1, 2}, kChannelsFirst);
  message.text("cam_right_wrist").array("|u1", {1, 2, 3}, kChannelsLast);
  state(message, "state", 14).text("prompt").text("fold the towel");
  const Observed observed(env, message);
  EXPECT_EQ((*observed).frames.size(), 2u);
  EXPECT_EQ(observed.pixels("base_0_rgb"), kPixels);
  EXPECT_EQ(observed.pixels("right_wrist_0_rgb"), kPixels);
  EXPECT_EQ((*observed).frames.at("base_0_rgb").width, 2);
  EXPECT_EQ((*observed).state, std::vector<double>(14, 0.5));
  EXPECT_EQ((*observed).prompt, "fold the towel");
}

TEST(Environment, AlohaRefusesUnknownAndMissingCameras) {
  const Environment env = make_environment("aloha", "", three_cameras());
  const auto observe = [&](const char* camera) {
    Packed message;
    message.map(2).text("images").map(1);
    message.text(camera).array("|u1", {3, 1, 2}, kChannelsFirst);
    Observed(env, state(message, "state", 14));
  };
  EXPECT_NO_THROW(observe("cam_high"));
  EXPECT_REFUSED(observe("cam_top"), "'cam_top'");
  EXPECT_REFUSED(observe("cam_left_wrist"), "the picture 'cam_high' is missing");
  EXPECT_REFUSED(Observed(env, Packed().map(1).text("images").number(1)), "'images' must be a map");
  EXPECT_REFUSED(Observed(env, Packed().map(0)), "'images' is missing");
  EXPECT_REFUSED(Observed(env, Packed().list(0)), "must be a map");
}

TEST(Environment, DroidJoinsItsStateAndIgnoresOtherKeys) {
  const Environment env = make_environment("", "pi05_droid", three_cameras());
  const auto observe = [&](const Packed& gripper) {
    Packed message;
    message.map(5);
    message.text("observation/exterior_image_1_left").array("|u1", {1, 2, 3}, kChannelsLast);
    message.text("observation/wrist_image_left").array("|u1", {3, 1, 2}, kChannelsFirst);
    state(message, "observation/joint_position", 7);
    message.text("session").number(7);
    message.text("observation/gripper_position").raw(gripper.str());
    return Observed(env, message);
  };
  std::vector<double> expected(8, 0.5);
  expected[7] = 0.25;
  EXPECT_EQ((*observe(Packed().array<double>("<f8", {1}, {0.25}))).state, expected);
  EXPECT_EQ((*observe(Packed().array<float>("<f4", {}, {0.25}))).state, expected);
  EXPECT_EQ((*observe(Packed().number(0.25))).state, expected);
  EXPECT_FALSE((*observe(Packed().number(0.25))).prompt);
  EXPECT_REFUSED(observe(Packed().array<double>("<f8", {2}, {1, 2})),
                 "'observation/gripper_position' has 2 values");
  EXPECT_REFUSED(observe(Packed().number(std::nan(""))), "'observation/gripper_position' has");
}

TEST(Environment, FloatingPointPicturesAreTruncatedAsNumpyDoes) {
  const Environment env = make_environment("", "", three_cameras());
  const auto observe = [&](const Packed& picture) {
    Packed message;
    message.map(2).text("front").raw(picture.str());
    return Observed(env, state(message, "state", 3)).pixels("front");
  };
  EXPECT_EQ(observe(Packed().array<float>("<f4", {1, 1, 3}, {0.7f, 0, 1})),
            (std::vector<int>{178, 0, 255}));
  EXPECT_EQ(observe(Packed().array<double>("<f8", {1, 1, 3}, {0.999, 1.003, -0.003})),
            (std::vector<int>{254, 255, 0}));
  // 0.7002, and 0.3333 whose 84.99 rounds to 85 in half precision.
  EXPECT_EQ(observe(Packed().array<std::uint16_t>("<f2", {1, 1, 3}, {0x399a, 0x3555, 0x3c00})),
            (std::vector<int>{178, 85, 255}));
  for (float bad : {1.1f, -0.1f, 255.0f, std::nanf("")}) {
    EXPECT_REFUSED(observe(Packed().array<float>("<f4", {1, 1, 3}, {0, bad, 0})), "in [0, 1]");
  }
}

TEST(Environment, RefusesWhatIsNoPicture) {
  const Environment env = make_environment("", "", three_cameras());
  const auto observe = [&](const Packed& picture) {
    Packed message;
    message.map(2).text("front").raw(picture.str());
    Observed(env, state(message, "state", 3));
  };
  EXPECT_REFUSED(observe(Packed().text("front.jpg")), "'front' must be a picture, it is text");
  EXPECT_REFUSED(observe(Packed().array<std::uint8_t>("|u1", {2, 3}, kChannelsLast)), "(2, 3)");
  EXPECT_REFUSED(observe(Packed().array<std::uint8_t>("|u1", {1, 6, 1}, kChannelsLast)),
                 "(1, 6, 1)");
  EXPECT_REFUSED(observe(Packed().array<std::uint8_t>("|u1", {3, 0, 4}, {})), "0 x 4 pixels");
  EXPECT_REFUSED(observe(Packed().array<std::int8_t>("|i1", {1, 1, 3}, {1, 2, 3})), "8-bit");
  EXPECT_REFUSED(observe(Packed().array<std::int64_t>("<i8", {1, 1, 3}, {1, 2, 3})), "8-bit");
}

TEST(Environment, ComesFromTheOpenpiConfigOrAName) {
  EXPECT_EQ(make_environment("", "pi0_libero", three_cameras()).name, "libero");
  EXPECT_EQ(make_environment("aloha_sim", "", three_cameras()).name, "aloha_sim");
  EXPECT_EQ(make_environment("", "", three_cameras()).name, "policy");
  EXPECT_EQ(make_environment("", "pi05_aloha", three_cameras()).reset_pose.size(), 6u);
  EXPECT_TRUE(make_environment("", "pi0_aloha_sim", three_cameras()).reset_pose.empty());
  EXPECT_REFUSED(make_environment("droid", "pi0_libero", three_cameras()), "another robot");
  EXPECT_REFUSED(make_environment("spot", "", three_cameras()), "'spot'");
  PolicyInfo one;
  one.cameras = {"front"};
  EXPECT_REFUSED(make_environment("libero", "", one), "2 cameras, the policy sees 1");
  EXPECT_STREQ(default_openpi_config("aloha"), "pi05_aloha");
}

/// An observation of the policy's own keys, whose last key is left to the caller.
Packed& begin_realtime(Packed& message) {
  message.map(3).text("front").array("|u1", {1, 2, 3}, kChannelsLast);
  return state(message, "state", 3).text("rtc");
}

TEST(Environment, ReadsAWishForRealTimeChunking) {
  const Environment env = make_environment("", "", three_cameras());
  Packed message;
  begin_realtime(message).map(5).text("prev_actions");
  message.array("<f8", {2, 3}, std::vector<double>{1, 2, 3, 4, 5, 6});
  message.text("inference_delay").number(2).text("execution_horizon").number(7);
  message.text("schedule").text("exp").text("max_guidance_weight").number(2.5);
  const Observed observed(env, message);
  ASSERT_TRUE((*observed).realtime.has_value());
  const RealTime& wish = *(*observed).realtime;
  EXPECT_EQ(wish.previous, (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(wish.rows, 2);
  EXPECT_EQ(wish.inference_delay, 2);
  EXPECT_EQ(wish.execution_horizon, 7);
  EXPECT_EQ(wish.schedule, Schedule::kExp);
  EXPECT_EQ(wish.max_weight, 2.5);
  EXPECT_EQ((*observed).frames.size(), 1u);

  Packed brief;
  begin_realtime(brief).map(2).text("prev_actions").array("<f4", {0, 3}, std::vector<float>{});
  brief.text("inference_delay").number(0);
  const Observed empty(env, brief);
  EXPECT_EQ((*empty).realtime->rows, 0);
  EXPECT_EQ((*empty).realtime->execution_horizon, 10);
  EXPECT_EQ((*empty).realtime->schedule, Schedule::kLinear);
}

TEST(Environment, AFalseWishForRealTimeChunkingIsNamed) {
  const Environment env = make_environment("", "", three_cameras());
  const auto expect_refused = [&](auto fill, const char* part) {
    Packed message;
    fill(begin_realtime(message));
    EXPECT_REFUSED(Observed(env, message), part);
  };
  const auto actions = [](Packed& packed) -> Packed& {
    packed.text("prev_actions");
    return packed.array("<f8", {1, 2}, std::vector<double>{1, 2});
  };
  expect_refused([](Packed& p) { p.number(1); }, "'rtc' must be a map");
  expect_refused([&](Packed& p) { p.map(1), actions(p); }, "'rtc' has no 'inference_delay'");
  expect_refused([](Packed& p) { p.map(1).text("inference_delay").number(1); },
                 "'rtc' has no 'prev_actions'");
  const auto with_delay = [&](auto fill) {
    return [=](Packed& p) {
      p.map(2).text("inference_delay").number(1);
      fill(p);
    };
  };
  expect_refused(with_delay([](Packed& p) { p.text("prev_actions").list(1).number(1.0); }),
                 "'rtc.prev_actions' must be an array [rows, action dim]");
  expect_refused(with_delay([](Packed& p) {
                   p.text("prev_actions").array("<f8", {2}, std::vector<double>{1, 2});
                 }),
                 "'rtc.prev_actions' must be an array [rows, action dim]");
  expect_refused(with_delay([](Packed& p) {
                   p.text("prev_actions").array("<f8", {1, 2}, std::vector<double>{1, NAN});
                 }),
                 "'rtc.prev_actions' has a value that is NaN");
  const auto with_actions = [&](auto fill) {
    return [=](Packed& p) {
      p.map(3);
      actions(p).text("inference_delay");
      fill(p);
    };
  };
  expect_refused(with_actions([](Packed& p) { p.number(1.5).text("schedule").text("exp"); }),
                 "'rtc.inference_delay' is 1.5");
  expect_refused(with_actions([](Packed& p) { p.number(-1).text("schedule").text("exp"); }),
                 "'rtc.inference_delay' is -1");
  expect_refused(with_actions([](Packed& p) { p.number(1).text("schedule").text("cubic"); }),
                 "'cubic' is not linear, exp, ones or zeros");
  expect_refused(with_actions([](Packed& p) { p.number(1).text("horizon").number(3); }),
                 "'rtc.horizon' is not known");
}

}  // namespace
}  // namespace saccade::server
