#include "bench_case.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <nlohmann/json.hpp>
#include <string_view>

#include "options.h"
#include "values.h"

namespace saccade::cli {
namespace {

/// "480x640"
void parse_frame(const std::string& text, BenchCase& of) {
  const auto number = [&](std::string_view part) {
    return parse_whole(part, "--frame", "HEIGHTxWIDTH such as 480x640", text);
  };
  const auto cross = text.find('x');
  of.frame_height = number(std::string_view(text).substr(0, cross));
  of.frame_width =
      number(cross == std::string::npos ? "" : std::string_view(text).substr(cross + 1));
}

}  // namespace

void add_bench_case(CLI::App& command, BenchCase& of) {
  command
      .add_option_function<std::string>(
          "CKPT", [&](const std::string& path) { of.checkpoint = path; },
          "A LeRobot or openpi directory (PyTorch or JAX), or a safetensors file")
      ->type_name("TEXT");
  add_choice(command, "--synthetic", {"pi0", "pi05"},
             "In place of CKPT: random weights of the published size",
             [&](std::size_t i) { of.synthetic = i == 0 ? Model::kPi0 : Model::kPi05; });
  command.add_flag("--outliers", of.outliers,
                   "With --synthetic: a few channels are 32 times as large as others");
  command.add_option("--views", of.views, "Cameras that are given; else all, or 2 if synthetic")
      ->type_name("N");
  command.add_option("--prompt-tokens", of.prompt_tokens, "Of the prompt, 0 for none; else 20")
      ->type_name("N");
  command
      .add_option_function<std::string>(
          "--frame", [&](const std::string& text) { parse_frame(text, of); },
          "Pixels of a frame; 480x640 if not given")
      ->type_name("HxW");
  add_load_options(command, of.load);
}

Json environment_json(const PolicyInfo& info, const GpuInfo* gpu) {
  Json json = {{"date", fmt::format("{:%Y-%m-%d}", fmt::gmtime(std::time(nullptr)))},
               {"device", name_of(info.device)}};
  if (gpu == nullptr) return json;
  json["gpu"] = gpu->name;
  json["driver"] = gpu->driver;
  json["cuda_driver"] = gpu->cuda_driver;
  json["cuda_runtime"] = gpu->cuda_runtime;
  json["arch"] = gpu->arch;
  return json;
}

Json case_json(const PolicyInfo& info, int views, int prompt_tokens) {
  return {{"model", name_of(info.model)},
          {"synthetic", info.layout == "synthetic"},
          {"views", views},
          {"prompt_tokens", prompt_tokens},
          {"chunk", info.chunk},
          {"steps", info.steps},
          {"precision", name_of(info.precision)}};
}

std::string describe(const GpuInfo& gpu) {
  const std::string driver = gpu.driver.empty() ? "" : ", driver " + gpu.driver;
  return gpu.name + driver + ", CUDA " + gpu.cuda_runtime;
}

}  // namespace saccade::cli
