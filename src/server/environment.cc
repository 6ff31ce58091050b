#include "server/environment.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/bf16.h"
#include "core/check.h"
#include "core/f16.h"
#include "io/json.h"
#include "io/openpi_config.h"
#include "server/realtime.h"

namespace saccade::server {
namespace {

constexpr auto kWhere = "observation";
constexpr std::size_t kChannels = 3;
constexpr std::size_t kMaxExtent = 16384;

/// What openpi's serve_policy.py loads for an environment.
struct Default {
  const char* environment;
  const char* robot;  // as io::OpenpiConfig words it
  const char* openpi_config;
};
constexpr std::array<Default, 4> kDefaults = {{{"aloha", "aloha", "pi05_aloha"},
                                               {"aloha_sim", "aloha", "pi0_aloha_sim"},
                                               {"droid", "droid", "pi05_droid"},
                                               {"libero", "libero", "pi05_libero"}}};

/// Of openpi's configs, these tell clients where to start.
constexpr std::array<std::string_view, 4> kPosedConfigs = {
    "pi0_aloha", "pi05_aloha", "pi0_aloha_towel", "pi0_aloha_tupperware"};

const Default& find_default(std::string_view environment) {
  for (const Default& known : kDefaults) {
    if (environment == known.environment) return known;
  }
  fail("--env", io::quote(environment), " is not known");
}

Environment of_robot(std::string_view robot) {
  Environment env;
  if (robot == "aloha") {
    env.images_key = "images";
    env.cameras = {{"cam_high", ""}, {"cam_left_wrist", "", false}, {"cam_right_wrist", "", false}};
    env.ignored_cameras = {"cam_low"};
    env.state = {{"state", 14}};
  } else if (robot == "droid") {
    env.cameras = {{"observation/exterior_image_1_left", ""}, {"observation/wrist_image_left", ""}};
    env.state = {{"observation/joint_position", 7}, {"observation/gripper_position", 1}};
  } else {
    env.cameras = {{"observation/image", ""}, {"observation/wrist_image", ""}};
    env.state = {{"observation/state", 8}};
  }
  return env;
}

std::string join(const std::vector<Environment::Camera>& cameras) {
  std::string text;
  for (const auto& camera : cameras) text += (text.empty() ? "" : ", ") + camera.key;
  return text;
}

const Value& require(const Map& map, const std::string& key) {
  const Value* value = find(map, key);
  SACCADE_CHECK(value != nullptr, kWhere, io::quote(key), " is missing");
  return *value;
}

/// A picture's place in an array of one or the other order of axes.
struct Layout {
  std::size_t height, width;
  std::size_t row, column, channel;  // strides in elements
};

/// As openpi: three rows mean channels.
Layout layout_of(const NdArray& array, const std::string& key) {
  const auto& shape = array.shape;
  const bool picture = shape.size() == 3 && (shape[0] == kChannels || shape[2] == kChannels);
  SACCADE_CHECK(picture, kWhere, io::quote(key),
                " must be a picture [3, height, width] or [height, width, 3], it is ",
                describe({array}));
  Layout layout;
  if (shape[0] == kChannels) {
    layout = {shape[1], shape[2], shape[2], 1, shape[1] * shape[2]};
  } else {
    layout = {shape[0], shape[1], shape[1] * kChannels, kChannels, 1};
  }
  SACCADE_CHECK(layout.height > 0 && layout.width > 0 && layout.height <= kMaxExtent &&
                    layout.width <= kMaxExtent,
                kWhere, io::quote(key), " is ", layout.height, " x ", layout.width,
                " pixels; a side must have 1 to ", kMaxExtent);
  return layout;
}

/// 255 x in the array's own precision, truncated, as NumPy does.
std::uint8_t pixel_at(const NdArray& array, std::size_t i, const std::string& key) {
  const double value = float_at(array, i);
  double scaled = value * 255;
  if (array.dtype.item_bytes == 4) scaled = float(value) * 255.0f;
  if (array.dtype.item_bytes == 2) scaled = to_float(from_float<f16>(float(value) * 255.0f));
  SACCADE_CHECK(scaled > -1 && scaled < 256, kWhere, io::quote(key), " has a pixel of ", value,
                ", where floating-point pictures are in [0, 1]");
  return std::uint8_t(scaled);
}

template <typename Pixel>
std::vector<std::uint8_t> interleave(const Layout& layout, Pixel pixel) {
  std::vector<std::uint8_t> pixels(layout.height * layout.width * kChannels);
  std::uint8_t* out = pixels.data();
  for (std::size_t y = 0; y < layout.height; ++y) {
    for (std::size_t x = 0; x < layout.width; ++x) {
      const std::size_t first = y * layout.row + x * layout.column;
      for (std::size_t c = 0; c < kChannels; ++c) *out++ = pixel(first + c * layout.channel);
    }
  }
  return pixels;
}

Frame decode_frame(const Value& value, const std::string& key, DecodedObservation& decoded) {
  const auto* array = value.as<NdArray>();
  SACCADE_CHECK(array != nullptr, kWhere, io::quote(key), " must be a picture, it is ",
                describe(value));
  const Layout layout = layout_of(*array, key);
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(array->data.data());
  Frame frame{bytes, int(layout.height), int(layout.width)};
  const bool is_u8 = array->dtype.kind == 'u' && array->dtype.item_bytes == 1;
  SACCADE_CHECK(is_u8 || array->dtype.kind == 'f', kWhere, io::quote(key),
                " must have 8-bit or floating-point pixels, it is ", describe(value));
  if (is_u8 && layout.channel == 1) return frame;  // as the policy wants it
  decoded.pixels.push_back(
      is_u8 ? interleave(layout, [&](std::size_t i) { return bytes[i]; })
            : interleave(layout, [&](std::size_t i) { return pixel_at(*array, i, key); }));
  frame.pixels = decoded.pixels.back().data();
  return frame;
}

/// Whether a key of the observation is no camera.
bool is_reserved(const Environment& env, std::string_view key) {
  return key == "prompt" || key == kRealTimeKey ||
         std::any_of(env.state.begin(), env.state.end(),
                     [&](const Environment::StatePart& part) { return part.key == key; });
}

void decode_listed_cameras(const Environment& env, const Map& observation,
                           DecodedObservation& decoded) {
  const Map* images = &observation;
  if (!env.images_key.empty()) {
    const Value& value = require(observation, env.images_key);
    images = value.as<Map>();
    SACCADE_CHECK(images != nullptr, kWhere, io::quote(env.images_key),
                  " must be a map of pictures, it is ", describe(value));
    for (const auto& [key, picture] : *images) {
      const auto is_this = [&key = key](const auto& camera) { return camera.key == key; };
      const bool known =
          std::any_of(env.cameras.begin(), env.cameras.end(), is_this) ||
          std::count(env.ignored_cameras.begin(), env.ignored_cameras.end(), key) > 0;
      SACCADE_CHECK(known, kWhere, io::quote(env.images_key), " has an unknown camera ",
                    io::quote(key), "; the cameras are ", join(env.cameras));
    }
  }
  for (const auto& [key, camera, required] : env.cameras) {
    const Value* picture = find(*images, key);
    SACCADE_CHECK(picture != nullptr || !required, kWhere, "the picture ", io::quote(key),
                  " is missing");
    if (picture == nullptr) continue;
    decoded.observation.frames[camera] = decode_frame(*picture, key, decoded);
  }
}

}  // namespace

const std::vector<std::string>& environment_names() {
  static const std::vector<std::string> names{"aloha", "aloha_sim", "droid", "libero"};
  return names;
}

const char* default_openpi_config(std::string_view environment) {
  return find_default(environment).openpi_config;
}

Environment make_environment(std::string_view name, std::string_view openpi_config,
                             const PolicyInfo& info) {
  const char* robot = openpi_config.empty() ? nullptr : io::find_openpi_config(openpi_config).robot;
  if (!name.empty()) {
    const char* wanted = find_default(name).robot;
    SACCADE_CHECK(robot == nullptr || std::string_view(robot) == wanted, "--env", name,
                  " is another robot than that of the openpi config ", openpi_config, ", ", robot);
    robot = wanted;
  }
  Environment env;
  if (robot == nullptr) {
    env.name = "policy";
    env.state = {{"state", 0}};
    return env;
  }
  env = of_robot(robot);
  env.name = name.empty() ? robot : name;
  SACCADE_CHECK(env.cameras.size() <= info.cameras.size(), "--env", env.name, " has ",
                env.cameras.size(), " cameras, the policy sees ", info.cameras.size());
  for (std::size_t i = 0; i < env.cameras.size(); ++i) env.cameras[i].camera = info.cameras[i];
  const auto posed = std::find(kPosedConfigs.begin(), kPosedConfigs.end(), openpi_config);
  if (posed != kPosedConfigs.end()) env.reset_pose = {0, -1.5, 1.5, 0, 0, 0};
  return env;
}

DecodedObservation decode_observation(const Environment& env, const Value& message) {
  const auto* observation = message.as<Map>();
  SACCADE_CHECK(observation != nullptr, kWhere, "an observation must be a map, it is ",
                describe(message));
  DecodedObservation decoded;
  if (env.cameras.empty()) {
    for (const auto& [key, value] : *observation) {
      if (is_reserved(env, key)) continue;
      const std::string name(key);
      decoded.observation.frames[name] = decode_frame(value, name, decoded);
    }
  } else {
    decode_listed_cameras(env, *observation, decoded);
  }
  for (const auto& [key, count] : env.state) {
    const std::vector<double> values = finite_numbers(require(*observation, key), key);
    SACCADE_CHECK(count == 0 || values.size() == count, kWhere, io::quote(key), " has ",
                  values.size(), " values, a robot of --env ", env.name, " has ", count);
    decoded.observation.state.insert(decoded.observation.state.end(), values.begin(), values.end());
  }
  const Value* prompt = find(*observation, "prompt");
  if (prompt != nullptr) decoded.observation.prompt = utf8_text(*prompt, "prompt");
  const Value* realtime = find(*observation, kRealTimeKey);
  if (realtime != nullptr) decoded.observation.realtime = decode_realtime(*realtime);
  return decoded;
}

}  // namespace saccade::server
