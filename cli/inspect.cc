#include "runtime/inspect.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "options.h"
#include "output.h"
#include "progress.h"
#include "table.h"

namespace saccade::cli {
namespace {

constexpr auto kExample = R"(Examples:
  saccade inspect ~/pi05_base
  saccade inspect lerobot_policy --json
  saccade inspect ~/pi05_base --digest      compares two copies of the same weights)";

constexpr std::size_t kShownTensors = 10;

struct Arguments {
  std::string checkpoint;
  LoadOptions load;
  bool json = false;
  bool digest = false;
};

using Digest = std::vector<std::pair<std::string, std::uint32_t>>;

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text.empty() ? "none" : text;
}

std::string or_unknown(const std::optional<int>& value) {
  return value ? std::to_string(*value) : "not said";
}

std::vector<std::string> statistic_names(const io::FeatureNormalization& feature) {
  std::vector<std::string> names;
  for (const auto& [name, values] : feature.statistics) names.push_back(name);
  return names;
}

std::size_t dims(const io::FeatureNormalization& feature) {
  return feature.statistics.empty() ? 0 : feature.statistics.begin()->second.size();
}

void print_config(const InspectReport& report) {
  const io::PolicyConfig& config = report.config;
  Table table({"policy", name_of(report.model)});
  table.left(1);
  table.add({"layout", report.files.layout});
  table.add({"weights", report.files.weights.string()});
  table.add({"preprocessing", name_of(config.mode)});
  table.add({"cameras", join(config.camera_names)});
  table.add({"image size", fmt::format("{0} x {0}", report.image_size)});
  table.add({"state dims", or_unknown(config.state_dim)});
  table.add({"action dims", or_unknown(config.action_dim)});
  table.add({"action names", join(config.action_names)});
  table.add({"chunk", fmt::format("{} actions", config.chunk)});
  table.add({"steps", std::to_string(config.steps)});
  table.add({"prompt tokens", or_unknown(config.max_prompt_tokens)});
  print(table.str());
}

void print_stages(const InspectReport& report) {
  Table table({"stage", "parameters", "bytes", "dims"});
  table.left(3);
  std::uint64_t parameters = 0;
  std::uint64_t bytes = 0;
  for (const StageSize& stage : report.stages) {
    table.add({stage.stage, format_count(stage.parameters), format_bytes(stage.bytes), stage.dims});
    parameters += stage.parameters;
    bytes += stage.bytes;
  }
  table.add({"all", format_count(parameters), format_bytes(bytes), ""});
  print("\n" + table.str());
}

void print_statistics(const io::PolicyConfig& config) {
  Table table({"statistics", "kind", "dims", "eps", "values"});
  table.left(4);
  const auto add = [&](const char* name, const std::optional<io::FeatureNormalization>& feature) {
    if (!feature) return table.add({name, "-", "-", "-", "none"});
    table.add({name, io::name_of(feature->kind), std::to_string(dims(*feature)),
               fmt::format("{:g}", feature->eps), join(statistic_names(*feature))});
  };
  add("state", config.state);
  add("actions", config.actions);
  print("\n" + table.str());
}

void print_list(const char* title, const std::vector<std::string>& lines, std::size_t most) {
  if (lines.empty()) return;
  print(fmt::format("\n{} ({})\n", title, lines.size()));
  for (std::size_t i = 0; i < std::min(most, lines.size()); ++i) print("  " + lines[i] + "\n");
  if (lines.size() > most) print(fmt::format("  and {} more\n", lines.size() - most));
}

/// What is wrong or doubtful, a sentence each.
std::vector<std::string> problems(const InspectReport& report) {
  std::vector<std::string> all = report.problems;
  if (!report.config.statistics_error.empty()) all.push_back(report.config.statistics_error);
  return all;
}

void print_report(const InspectReport& report, const Digest& digest) {
  print_config(report);
  print_stages(report);
  print_statistics(report.config);
  print_list("unused tensors", report.unused, kShownTensors);
  print_list("warnings", report.config.warnings, report.config.warnings.size());
  print_list("problems", problems(report), problems(report).size());
  if (digest.empty()) return;
  Table table({"weights", "crc32c"});
  for (const auto& [name, crc] : digest) table.add({name, fmt::format("{:08x}", crc)});
  print("\n" + table.str());
}

Json optional_json(const std::optional<int>& value) { return value ? Json(*value) : Json(); }

Json statistics_json(const std::optional<io::FeatureNormalization>& feature) {
  if (!feature) return nullptr;
  return {{"kind", io::name_of(feature->kind)},
          {"eps", feature->eps},
          {"dims", dims(*feature)},
          {"values", feature->statistics}};
}

void print_report_json(const InspectReport& report, const Digest& digest) {
  const io::PolicyConfig& config = report.config;
  Json stages = Json::array();
  for (const StageSize& stage : report.stages) {
    stages.push_back({{"stage", stage.stage},
                      {"parameters", stage.parameters},
                      {"bytes", stage.bytes},
                      {"dims", stage.dims}});
  }
  Json json = {
      {"model", name_of(report.model)},
      {"layout", report.files.layout},
      {"weights", report.files.weights.string()},
      {"mode", name_of(config.mode)},
      {"cameras", config.camera_names},
      {"image_size", report.image_size},
      {"state_dim", optional_json(config.state_dim)},
      {"action_dim", optional_json(config.action_dim)},
      {"action_names", config.action_names},
      {"chunk", config.chunk},
      {"steps", config.steps},
      {"max_prompt_tokens", optional_json(config.max_prompt_tokens)},
      {"stages", stages},
      {"statistics",
       {{"state", statistics_json(config.state)}, {"actions", statistics_json(config.actions)}}},
      {"unused", report.unused},
      {"warnings", config.warnings},
      {"problems", problems(report)}};
  if (!digest.empty()) json["digest"] = Json::object();
  for (const auto& [name, crc] : digest) json["digest"][name] = fmt::format("{:08x}", crc);
  print_json(json);
}

void run_inspect(Arguments& arguments) {
  arguments.load.progress = progress_bar();
  const InspectReport report = inspect(arguments.checkpoint, arguments.load);
  Digest digest;
  if (arguments.digest) digest = weight_digest(arguments.checkpoint, arguments.load);
  if (arguments.json) {
    print_report_json(report, digest);
  } else {
    print_report(report, digest);
  }
}

}  // namespace

void add_inspect(CLI::App& app, int& status) {
  CLI::App* command =
      app.add_subcommand("inspect", "Says what a checkpoint holds and what is wrong with it");
  const auto arguments = std::make_shared<Arguments>();
  add_checkpoint_argument(*command, arguments->checkpoint);
  command->add_flag("--json", arguments->json, "Prints one JSON object in place of tables");
  command->add_flag("--digest", arguments->digest, "Loads the weights and prints their checksums");
  add_load_options(*command, arguments->load);
  command->footer(kExample);
  command->callback([arguments, &status] {
    run_inspect(*arguments);
    status = kOk;
  });
}

}  // namespace saccade::cli
