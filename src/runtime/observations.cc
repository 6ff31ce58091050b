#include "runtime/observations.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "core/check.h"
#include "io/json.h"
#include "io/safetensors.h"

namespace saccade {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMaxValues = 1 << 20;  // of a state, a prompt or noise
constexpr std::int64_t kMaxSide = 16384;
constexpr std::int64_t kMaxPixels = 1 << 26;
constexpr int kChannels = 3;

/// The frames point into the pictures, which must not move any more.
void add_frames(const std::vector<std::string>& cameras, StoredObservation& stored) {
  for (std::size_t i = 0; i < cameras.size(); ++i) {
    const io::Image& image = stored.images[i];
    stored.observation.frames[cameras[i]] = {image.pixels.data(), image.height, image.width};
  }
}

/// An observation in a safetensors file.
class TensorReader {
 public:
  explicit TensorReader(const fs::path& path) : file_(path) {}

  void read(StoredObservation& stored) const {
    std::vector<std::string> cameras;
    Observation& observation = stored.observation;
    for (const auto& [name, entry] : file_.entries()) {
      if (name == "state" || name == io::kStateFeature) {
        check(observation.state.empty(), name, "is a second state");
        observation.state = numbers(name, entry);
      } else if (name == "tokens") {
        observation.tokens = whole_numbers(name, entry);
      } else if (name == "noise") {
        const std::vector<double> values = numbers(name, entry);
        observation.noise.emplace(values.begin(), values.end());
      } else if (name != "actions" && name != "previous_actions") {  // which a recording has beside
        cameras.push_back(name);
        stored.images.push_back(picture(name, entry));
      }
    }
    const auto prompt = file_.metadata().find("prompt");
    if (prompt != file_.metadata().end()) observation.prompt = prompt->second;
    add_frames(cameras, stored);
  }

 private:
  void check(bool holds, const std::string& name, std::string_view complaint) const {
    SACCADE_CHECK(holds, file_.path().string(), io::quote(name), " ", complaint);
  }

  std::vector<double> numbers(const std::string& name, const io::SafetensorsEntry& entry) const {
    const auto& info = entry.info;
    check(info.size() <= kMaxValues, name, "has too many values");
    std::vector<double> values(std::size_t(info.size()));
    const auto* bytes = file_.bytes(entry).data();
    switch (info.dtype) {
      case io::FileDType::kF64:
        std::copy_n(reinterpret_cast<const double*>(bytes), values.size(), values.begin());
        break;
      case io::FileDType::kF32:
        std::copy_n(reinterpret_cast<const float*>(bytes), values.size(), values.begin());
        break;
      case io::FileDType::kI64:
        std::copy_n(reinterpret_cast<const std::int64_t*>(bytes), values.size(), values.begin());
        break;
      case io::FileDType::kI32:
        std::copy_n(reinterpret_cast<const std::int32_t*>(bytes), values.size(), values.begin());
        break;
      default:
        check(false, name,
              std::string("must be F32, F64, I32 or I64, it is ") + io::name_of(info.dtype));
    }
    return values;
  }

  std::vector<int> whole_numbers(const std::string& name, const io::SafetensorsEntry& entry) const {
    std::vector<int> result;
    for (const double value : numbers(name, entry)) {
      check(value == std::floor(value) && std::abs(value) <= std::numeric_limits<int>::max(), name,
            "must hold whole numbers");
      result.push_back(int(value));
    }
    return result;
  }

  /// [height, width, 3], or [3, height, width] as PyTorch has it.
  io::Image picture(const std::string& name, const io::SafetensorsEntry& entry) const {
    const auto& extents = entry.info.extents;
    const bool is_u8 = entry.info.dtype == io::FileDType::kU8;
    const bool channels_first = extents.size() == 3 && extents[0] == kChannels;
    const bool channels_last = extents.size() == 3 && extents[2] == kChannels;
    check(is_u8 && (channels_first || channels_last), name,
          "must be state, tokens, noise or a picture, U8 [height, width, 3] or [3, height, width], "
          "it is " +
              std::string(io::name_of(entry.info.dtype)) + " " + entry.info.shape());
    const std::int64_t height = extents[channels_first ? 1 : 0];
    const std::int64_t width = extents[channels_first ? 2 : 1];
    check(height >= 1 && width >= 1 && height <= kMaxSide && width <= kMaxSide &&
              height * width <= kMaxPixels,
          name, "is too small or too large for a picture: " + entry.info.shape());
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(file_.bytes(entry).data());
    io::Image image{int(height), int(width), std::vector<std::uint8_t>(entry.info.bytes())};
    const std::size_t pixels = std::size_t(height * width);
    for (std::size_t i = 0; i < image.pixels.size(); ++i) {
      image.pixels[i] = bytes[channels_first ? i % kChannels * pixels + i / kChannels : i];
    }
    return image;
  }

  io::SafetensorsFile file_;
};

std::vector<double> read_array(const io::Fields& fields, const std::string& name,
                               const io::Json& array) {
  std::vector<double> values;
  if (!array.is_array()) fields.fail(name, "an array of numbers");
  for (const io::Json& value : array) {
    if (!value.is_number()) fields.fail(name, "an array of numbers");
    values.push_back(value.get<double>());
  }
  return values;
}

void read_json(const fs::path& path, StoredObservation& stored) {
  const io::Json json = io::read_json(path);
  const io::Fields fields(json, path.string());
  Observation& observation = stored.observation;
  for (const auto& [name, value] : json.items()) {
    const bool known = name == "images" || name == "state" || name == "prompt" || name == "tokens";
    SACCADE_CHECK(known, path.string(), io::quote(name),
                  " is not known; an observation has images, state, prompt and tokens");
  }
  if (const io::Json* state = fields.find("state")) {
    observation.state = read_array(fields, "state", *state);
  }
  observation.prompt = fields.text("prompt");
  if (const io::Json* tokens = fields.find("tokens")) {
    observation.tokens.emplace();
    for (const double value : read_array(fields, "tokens", *tokens)) {
      if (value != std::floor(value) || std::abs(value) > std::numeric_limits<int>::max()) {
        fields.fail("tokens", "an array of whole numbers");
      }
      observation.tokens->push_back(int(value));
    }
  }
  std::vector<std::string> cameras;
  const auto images = fields.object("images");
  if (!images) return;
  for (const auto& [camera, value] : images->json().items()) {
    const std::string file = images->text(camera).value_or("");
    SACCADE_CHECK(io::is_plain_file_name(file), path.string(), "the picture of ", io::quote(camera),
                  " must be a file beside it, got ", io::quote(file));
    cameras.push_back(camera);
    stored.images.push_back(io::read_image(path.parent_path() / file));
  }
  add_frames(cameras, stored);
}

/// A coarse grid of random colours, and what lies between them.
io::Image smooth_picture(int height, int width, std::mt19937& random) {
  constexpr int kCells = 6;
  constexpr int kSide = kCells + 1;
  float grid[kSide][kSide][kChannels];
  for (auto& row : grid) {
    for (auto& colour : row) {
      for (float& value : colour) value = float(random() % 256);
    }
  }
  io::Image image{height, width, {}};
  image.pixels.reserve(std::size_t(height * width * kChannels));
  for (int y = 0; y < height; ++y) {
    const float fy = float(y) * kCells / float(height);
    for (int x = 0; x < width; ++x) {
      const float fx = float(x) * kCells / float(width);
      const int gy = int(fy), gx = int(fx);
      for (int c = 0; c < kChannels; ++c) {
        const float upper = std::lerp(grid[gy][gx][c], grid[gy][gx + 1][c], fx - float(gx));
        const float lower = std::lerp(grid[gy + 1][gx][c], grid[gy + 1][gx + 1][c], fx - float(gx));
        image.pixels.push_back(std::uint8_t(std::lerp(upper, lower, fy - float(gy))));
      }
    }
  }
  return image;
}

/// Half way to the edges of the range at most, in physical units.
std::vector<double> inner_state(const io::PolicyConfig& config, const PolicyInfo& info,
                                std::mt19937& random) {
  std::uniform_real_distribution<double> uniform(-0.5, 0.5);
  const bool openpi = config.mode == Mode::kOpenpi;
  const io::FeatureNormalization& feature = *config.state;
  io::Scaling scaling;
  if (feature.kind != io::Normalization::kIdentity) {
    scaling = io::scaling(feature.kind, feature.statistics, feature.eps, openpi,
                          io::Direction::kForward, !openpi, io::kStateFeature);
  }
  int dims = info.state_dim;
  if (dims == 0) dims = int(scaling.center.size());
  if (dims == 0 || dims > info.max_state_dim) dims = info.max_state_dim;
  std::vector<double> state;
  for (int i = 0; i < dims; ++i) {
    const auto at = std::size_t(i);
    const double normalized = uniform(random);
    const bool known = at < scaling.center.size();
    state.push_back(known ? (normalized - scaling.bias) / scaling.gain * scaling.range[at] +
                                scaling.center[at]
                          : normalized);
  }
  return state;
}

}  // namespace

std::vector<fs::path> observation_files(const fs::path& directory) {
  std::error_code error;
  std::vector<fs::path> files;
  fs::directory_iterator entries(directory, error);
  SACCADE_CHECK(!error, "observations", "cannot read the directory ", directory.string(), ": ",
                error.message());
  for (const fs::directory_entry& entry : entries) {
    const fs::path extension = entry.path().extension();
    if (extension == ".safetensors" || extension == ".json") files.push_back(entry.path());
  }
  SACCADE_CHECK(!files.empty(), "observations", directory.string(),
                " holds no observation: no *.safetensors and no *.json");
  std::sort(files.begin(), files.end());
  return files;
}

StoredObservation read_observation(const fs::path& file) {
  StoredObservation stored;
  stored.name = file.string();
  if (file.extension() == ".json") {
    read_json(file, stored);
  } else {
    TensorReader(file).read(stored);
  }
  return stored;
}

StoredObservation make_observation(const io::PolicyConfig& config, const PolicyInfo& info,
                                   int vocabulary, std::uint64_t seed) {
  constexpr int kHeight = 240;
  constexpr int kWidth = 320;
  constexpr int kFewestTokens = 5;
  constexpr int kMostTokens = 40;
  std::mt19937 random{std::mt19937::result_type(seed)};
  StoredObservation stored;
  stored.name = "observation " + std::to_string(seed);
  for (std::size_t i = 0; i < info.cameras.size(); ++i) {
    stored.images.push_back(smooth_picture(kHeight, kWidth, random));
  }
  add_frames(info.cameras, stored);
  stored.observation.state = inner_state(config, info, random);
  const int tokens = std::min(kFewestTokens + int(random() % (kMostTokens - kFewestTokens + 1)),
                              info.max_prompt_tokens);
  stored.observation.tokens.emplace();
  for (int i = 0; i < tokens; ++i) {
    stored.observation.tokens->push_back(int(random() % unsigned(vocabulary)));
  }
  stored.observation.seed = seed;
  return stored;
}

}  // namespace saccade
