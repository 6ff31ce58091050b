#include <fmt/format.h>

#include <chrono>
#include <map>
#include <memory>

#include "chunk.h"
#include "commands.h"
#include "core/check.h"
#include "io/image.h"
#include "io/safetensors.h"
#include "options.h"
#include "output.h"
#include "plot.h"
#include "progress.h"
#include "values.h"

namespace saccade::cli {
namespace {

constexpr auto kExample = R"(Examples:
  saccade infer ~/pi05_libero --openpi-config pi05_libero --image base_0_rgb=front.jpg \
      --image left_wrist_0_rgb=wrist.png --state 0.1,0.2,0,0,0,0,0.04,0.04 \
      --prompt "put the bowl on the plate" --plot chunk.svg
  saccade infer my_lerobot_policy --image front=front.jpg --state @state.json --json

saccade inspect CKPT lists the names of the cameras. A camera that is not given counts as missing.)";

struct InferOptions {
  std::string checkpoint;
  LoadOptions load;
  std::vector<std::string> images;
  std::string state;
  std::string tokens;
  std::string noise;
  std::string plot;
  bool json = false;
  Observation observation;  // prompt and seed come straight from the command line
};

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

/// The pictures of an observation, whose frames point into them.
std::map<std::string, io::Image> read_images(const std::vector<std::string>& arguments) {
  std::map<std::string, io::Image> images;
  for (const std::string& argument : arguments) {
    const auto [camera, file] = parse_assignment(argument, "--image");
    SACCADE_CHECK(!images.contains(camera), "--image", "camera ", camera, " is given twice");
    images[camera] = io::read_image(file);
  }
  return images;
}

std::vector<float> read_noise(const std::string& file) {
  const io::SafetensorsFile source{file};
  const io::SafetensorsEntry& entry = source.entry("noise");
  SACCADE_CHECK(entry.info.dtype == io::FileDType::kF32, "--noise", "the tensor noise of ", file,
                " must be F32, it is ", io::name_of(entry.info.dtype));
  const std::span<const std::byte> bytes = source.bytes(entry);
  const auto* values = reinterpret_cast<const float*>(bytes.data());
  return {values, values + bytes.size() / sizeof(float)};
}

void run_infer(const CLI::App& command, InferOptions& options) {
  Observation& observation = options.observation;
  if (command.count("--plot") > 0) check_writable(options.plot, "--plot");
  if (command.count("--state") > 0) observation.state = parse_numbers(options.state, "--state");
  if (command.count("--tokens") > 0)
    observation.tokens = parse_integers(options.tokens, "--tokens");
  if (command.count("--noise") > 0) observation.noise = read_noise(options.noise);
  auto start = Clock::now();
  const std::map<std::string, io::Image> images = read_images(options.images);
  for (const auto& [camera, image] : images) {
    observation.frames[camera] = {image.pixels.data(), image.height, image.width};
  }
  std::vector<StageTime> times{{"read images", milliseconds_since(start)}};

  start = Clock::now();
  options.load.progress = progress_bar();
  Policy policy = Policy::load(options.checkpoint, options.load);
  times.push_back({"load", milliseconds_since(start)});
  ActionChunk chunk = policy.infer(observation);
  chunk.times.insert(chunk.times.begin(), times.begin(), times.end());

  const PolicyInfo& info = policy.info();
  const std::vector<std::string> names = column_names(info, chunk);
  if (command.count("--plot") > 0) {
    const auto title = fmt::format("{} actions, seed {}", name_of(info.model), observation.seed);
    write_file(options.plot, plot_actions(chunk, names, title), "--plot");
  }
  if (options.json) return print_chunk_json(info, chunk, names, observation.seed);
  print_warnings(info.warnings);
  print_notes(info.notes);
  print_warnings(chunk.warnings);
  print_chunk(info, chunk, names);
}

}  // namespace

void add_infer(CLI::App& app, int& status) {
  CLI::App* command = app.add_subcommand("infer", "Prints one chunk of actions");
  const auto options = std::make_shared<InferOptions>();
  add_checkpoint_argument(*command, options->checkpoint);
  command->add_option("--image", options->images, "A camera's JPEG or PNG; repeat for each camera")
      ->type_name("CAMERA=FILE")
      ->allow_extra_args(false);
  command
      ->add_option("--state", options->state,
                   "The robot's state in physical units: 0.1,0.2 or a JSON array or @file")
      ->type_name("NUMBERS");
  command->add_option("--prompt", options->observation.prompt, "What the robot is to do")
      ->type_name("TEXT");
  command->add_option("--tokens", options->tokens, "Token ids in place of the prompt: 2,17,5")
      ->type_name("IDS");
  command->add_option("--seed", options->observation.seed, "Of the noise; 0 if not given")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N");
  command
      ->add_option("--noise", options->noise,
                   "A safetensors file with an F32 tensor \"noise\" [chunk, action dim]")
      ->type_name("FILE");
  command->add_option("--plot", options->plot, "Writes an SVG line chart of the actions")
      ->type_name("FILE");
  command->add_flag("--json", options->json, "Prints one JSON object in place of tables");
  add_load_options(*command, options->load);
  command->footer(kExample);
  command->callback([command, options, &status] {
    run_infer(*command, *options);
    status = kOk;
  });
}

}  // namespace saccade::cli
