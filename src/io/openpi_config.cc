#include "io/openpi_config.h"

#include <algorithm>
#include <array>

#include "core/check.h"
#include "io/feature_normalization.h"
#include "io/json.h"

namespace saccade::io {
namespace {

constexpr char kLibero[] = "physical-intelligence/libero";
constexpr char kAlohaSim[] = "lerobot/aloha_sim_transfer_cube_human";
constexpr char kTupperware[] = "open the tupperware and put the food on the plate";

// openpi's src/openpi/training/config.py and misc/{roboarena,polaris}_config.py.
constexpr std::array<OpenpiConfig, 18> kConfigs = {{
    {"pi0_aloha", Model::kPi0, 50, "trossen", "aloha", true},
    {"pi05_aloha", Model::kPi05, 50, "trossen", "aloha", true},
    {"pi0_aloha_towel", Model::kPi0, 50, "trossen", "aloha", true, "fold the towel"},
    {"pi0_aloha_tupperware", Model::kPi0, 50, "trossen", "aloha", true, kTupperware},
    {"pi0_aloha_pen_uncap", Model::kPi0, 50, "trossen", "aloha", true, "uncap the pen"},
    {"pi05_aloha_pen_uncap", Model::kPi05, 50, "trossen", "aloha", true, "uncap the pen"},
    {"pi0_aloha_sim", Model::kPi0, 50, kAlohaSim, "aloha", false, "Transfer cube"},
    {"pi0_droid", Model::kPi0, 10, "droid", "droid"},
    {"pi05_droid", Model::kPi05, 15, "droid", "droid"},
    {"pi05_full_droid_finetune", Model::kPi05, 16, "droid", "droid", true},
    {"pi05_droid_finetune", Model::kPi05, 16, "droid", "droid"},
    {"pi05_droid_jointpos_polaris", Model::kPi05, 15, "droid", "droid", true},
    {"pi0_droid_jointpos_polaris", Model::kPi0, 10, "droid", "droid", true, "", 100},
    {"pi0_droid_jointpos_100k_polaris", Model::kPi0, 10, "droid", "droid", true, "", 100},
    {"paligemma_diffusion_droid", Model::kPi0, 10, "droid", "droid"},
    {"pi0_libero", Model::kPi0, 50, kLibero, "libero", true},
    {"pi0_libero_low_mem_finetune", Model::kPi0, 50, kLibero, "libero", true},
    {"pi05_libero", Model::kPi05, 10, kLibero, "libero", false, "", 0, false},
}};

constexpr std::array<std::string_view, 10> kFastConfigs = {
    "pi0_fast_droid",
    "pi0_fast_libero",
    "pi0_fast_libero_low_mem_finetune",
    "pi0_fast_full_droid_finetune",
    "pi0_fast_droid_jointpos_polaris",
    "paligemma_binning_droid",
    "paligemma_fast_droid",
    "paligemma_fast_specialist_droid",
    "paligemma_vq_droid",
    "paligemma_binning_droid_jointpos",
};

/// What openpi's policy of a robot makes of its observations and actions.
struct Robot {
  std::string_view name;
  std::vector<std::string> camera_names;  // of kCameras, in order; the others are never given
  std::vector<std::string> ignored_cameras;
  int state_dim;
  int action_dim;
  std::vector<bool> relative_actions;
  bool aloha_joints;
};

constexpr std::array<const char*, 3> kCameras = {"base_0_rgb", "left_wrist_0_rgb",
                                                 "right_wrist_0_rgb"};

/// `joints` relative actions and an absolute gripper, for each arm.
std::vector<bool> relative_joints(int arms, int joints) {
  std::vector<bool> mask;
  for (int arm = 0; arm < arms; ++arm) {
    mask.insert(mask.end(), static_cast<std::size_t>(joints), true);
    mask.push_back(false);
  }
  return mask;
}

Robot find_robot(std::string_view name) {
  if (name == "aloha") {
    return {name,        {"cam_high", "cam_left_wrist", "cam_right_wrist"},
            {"cam_low"}, 14,
            14,          relative_joints(2, 6),
            true};
  }
  if (name == "droid") {
    return {name, {"observation/exterior_image_1_left", "observation/wrist_image_left"},
            {},   8,
            8,    relative_joints(1, 7),
            false};
  }
  return {name, {"observation/image", "observation/wrist_image"}, {}, 8, 7, relative_joints(1, 6),
          false};
}

void read_config_json(const std::filesystem::path& path, PolicyConfig& config) {
  const Json json = read_json(path);
  const Fields fields(json, path.string());
  fields.integer("action_dim", 1, kMaxChunk);
  if (const auto chunk = fields.integer("action_horizon", 1, kMaxChunk)) {
    config.chunk = static_cast<int>(*chunk);
  }
  for (const char* name : {"paligemma_variant", "action_expert_variant", "precision"}) {
    fields.text(name);
  }
}

void apply(const OpenpiConfig& openpi, bool chunk_is_known, PolicyConfig& config) {
  if (chunk_is_known && config.chunk != openpi.chunk) {
    config.warnings.push_back("config.json has an action_horizon of " +
                              std::to_string(config.chunk) + ", the openpi config " + openpi.name +
                              " has " + std::to_string(openpi.chunk) + " and is followed");
  }
  const Robot robot = find_robot(openpi.robot);
  config.model = openpi.model;
  config.chunk = openpi.chunk;
  config.cameras.assign(kCameras.begin(), kCameras.begin() + robot.camera_names.size());
  config.camera_names = robot.camera_names;
  config.ignored_cameras = robot.ignored_cameras;
  config.state_dim = robot.state_dim;
  config.action_dim = robot.action_dim;
  if (openpi.relative_actions) config.relative_actions = robot.relative_actions;
  config.aloha_joints = robot.aloha_joints;
  config.default_prompt = openpi.default_prompt;
  if (openpi.max_prompt_tokens > 0) config.max_prompt_tokens = openpi.max_prompt_tokens;
  if (openpi.model == Model::kPi05) config.state_in_prompt = openpi.state_in_prompt;
}

std::vector<std::filesystem::path> list_norm_stats(const std::filesystem::path& assets) {
  constexpr int kMaxDepth = 5;
  std::vector<std::filesystem::path> found;
  std::error_code error;
  std::filesystem::recursive_directory_iterator entry(
      assets, std::filesystem::directory_options::skip_permission_denied, error);
  for (; !error && entry != std::filesystem::recursive_directory_iterator();
       entry.increment(error)) {
    if (entry.depth() >= kMaxDepth) entry.disable_recursion_pending();
    if (entry->path().filename() == "norm_stats.json") found.push_back(entry->path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

FoundStatistics find_statistics(const CheckpointFiles& files, const OpenpiConfig* openpi) {
  const std::filesystem::path assets = files.root / "assets";
  if (openpi) {
    const auto path = assets / openpi->asset_id / "norm_stats.json";
    if (std::filesystem::exists(path)) return try_statistics([&] { return read_norm_stats(path); });
    return {{},
            path.string() + ", where " + std::string(openpi->name) +
                " keeps them, does not exist; name the file with --statistics"};
  }
  const auto found = list_norm_stats(assets);
  if (found.size() == 1) return try_statistics([&] { return read_norm_stats(found[0]); });
  if (found.empty()) {
    return {{},
            "there is no norm_stats.json below " + assets.string() +
                "; name the file with --statistics"};
  }
  std::string names;
  for (const auto& path : found) names += (names.empty() ? "" : ", ") + path.string();
  return {{}, "pass --openpi-config or --statistics to choose one of these statistics: " + names};
}

}  // namespace

const OpenpiConfig& find_openpi_config(std::string_view name) {
  constexpr auto kWhere = "openpi config";
  for (const OpenpiConfig& config : kConfigs) {
    if (name == config.name) return config;
  }
  const bool fast = std::find(kFastConfigs.begin(), kFastConfigs.end(), name) != kFastConfigs.end();
  SACCADE_CHECK(!fast, kWhere, name,
                " is an autoregressive (FAST) config, which is not supported: Saccade runs pi0 and "
                "pi05");
  std::string names;
  for (const OpenpiConfig& config : kConfigs)
    names += (names.empty() ? "" : ", ") + std::string(config.name);
  fail(kWhere, quote(name), " is not known, the known ones are ", names);
}

void read_openpi_config(const CheckpointFiles& files, const LoadOptions& options,
                        PolicyConfig& config) {
  config.cameras.assign(kCameras.begin(), kCameras.end());
  config.camera_names = config.cameras;
  if (!files.config.empty()) read_config_json(files.config, config);
  const OpenpiConfig* openpi = nullptr;
  if (options.openpi_config.empty()) {
    config.warnings.push_back(
        "no openpi config is named (--openpi-config), so actions are returned as the model gives "
        "them: all columns that have statistics, nothing relative to the state, no joint "
        "conventions of a robot");
  } else {
    openpi = &find_openpi_config(options.openpi_config);
    apply(*openpi, !files.config.empty(), config);
  }
  const FoundStatistics found = options.statistics.empty()
                                    ? find_statistics(files, openpi)
                                    : read_given_statistics(options.statistics);
  const double eps = default_eps(config.mode);
  config.state = find_feature(eps, found, kStateFeature, config);
  config.actions = find_feature(eps, found, kActionFeature, config);
  config.normalization_by_model = true;
}

}  // namespace saccade::io
