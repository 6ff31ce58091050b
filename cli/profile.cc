#include "runtime/profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "bench_case.h"
#include "commands.h"
#include "options.h"
#include "output.h"
#include "progress.h"
#include "table.h"

namespace saccade::cli {
namespace {

constexpr auto kExample = R"(Examples:
  saccade profile --synthetic pi05 --views 2 --prompt-tokens 20
  saccade profile ~/pi05_base --trace pi05.json      for ui.perfetto.dev

An op's time is what it adds to the graph of the ops in front of it, so that all rows add up to the
whole graph. Needs a GPU.)";

struct Arguments {
  ProfileOptions profile;
  std::string trace;
  bool json = false;
};

std::string percent_of_floor(const ProfileRow& row) {
  return row.floor_us > 0 && row.us > 0 ? fmt::format("{:.0f} %", 100 * row.floor_us / row.us)
                                        : "-";
}

std::vector<std::string> cells(const ProfileRow& row) {
  return {row.stage,
          row.op,
          row.shape,
          std::to_string(row.count),
          fmt::format("{:.1f}", row.us),
          fmt::format("{:.2f}", row.us / row.count),
          row.floor_us > 0 ? fmt::format("{:.2f}", row.floor_us / row.count) : "-",
          percent_of_floor(row)};
}

double sum_us(const std::vector<ProfileRow>& rows) {
  double sum = 0;
  for (const ProfileRow& row : rows) sum += row.us;
  return sum;
}

void print_report(const ProfileReport& report) {
  const PolicyInfo& info = report.policy;
  print_notes(info.notes);
  print(fmt::format("{}, {} views, {} prompt tokens, {} actions, {} steps, {} on {}\n\n",
                    name_of(info.model), report.views, report.prompt_tokens, info.chunk, info.steps,
                    name_of(info.precision), describe(report.gpu)));
  Table table({"stage", "op", "shape", "count", "us", "us each", "floor", "of floor"});
  table.left(1);
  table.left(2);
  for (const ProfileRow& row : report.rows) table.add(cells(row));
  for (ProfileRow row : report.stages) {
    row.op = "all";
    table.add(cells(row));
  }
  print(table.str());
  print(fmt::format("\nThe rows add up to {:.3f} ms; the graph takes {:.3f} ms by itself.\n",
                    1e-3 * sum_us(report.rows), 1e-3 * report.graph_us));
}

Json to_json(const ProfileRow& row) {
  return {{"stage", row.stage},      {"op", row.op}, {"shape", row.shape},
          {"count", row.count},      {"us", row.us}, {"us_each", row.us / row.count},
          {"floor_us", row.floor_us}};
}

void print_report_json(const ProfileReport& report) {
  const PolicyInfo& info = report.policy;
  Json rows = Json::array();
  for (const ProfileRow& row : report.rows) rows.push_back(to_json(row));
  Json stages = Json::object();
  for (const ProfileRow& row : report.stages) {
    stages[row.stage] = {{"ops", row.count}, {"us", row.us}, {"floor_us", row.floor_us}};
  }
  Json json = environment_json(info, &report.gpu);
  json["case"] = case_json(info, report.views, report.prompt_tokens);
  json["graph_us"] = report.graph_us;
  json["sum_us"] = sum_us(report.rows);
  json["stages"] = stages;
  json["rows"] = rows;
  json["notes"] = info.notes;
  print_json(json);
}

/// Chrome's trace format: the ops one behind the other, a track for each stage. An op that by the
/// noise of its measurement took less than nothing takes none.
std::string chrome_trace(const ProfileReport& report) {
  Json events = Json::array();
  std::map<std::string, int> tracks;
  for (const ProfileRow& stage : report.stages) {
    const int track = int(tracks.size());
    tracks[stage.stage] = track;
    events.push_back({{"name", "thread_name"},
                      {"ph", "M"},
                      {"pid", 0},
                      {"tid", track},
                      {"args", {{"name", stage.stage}}}});
  }
  double now = 0;
  for (const ProfiledOp& op : report.ops) {
    const double duration = std::max(0.0, op.us);
    events.push_back({{"name", op.record.op},
                      {"ph", "X"},
                      {"ts", now},
                      {"dur", duration},
                      {"pid", 0},
                      {"tid", tracks.at(op.stage)},
                      {"args",
                       {{"shape", op.record.shape},
                        {"flops", op.record.flops},
                        {"weight_bytes", op.record.bytes},
                        {"floor_us", 1e3 * floor_ms(op.record)}}}});
    now += duration;
  }
  const Json trace = {{"displayTimeUnit", "ns"}, {"traceEvents", std::move(events)}};
  return trace.dump() + "\n";
}

}  // namespace

void add_profile(CLI::App& app, int& status) {
  CLI::App* command =
      app.add_subcommand("profile", "Says how long each op of an inference takes on a GPU");
  const auto arguments = std::make_shared<Arguments>();
  add_bench_case(*command, arguments->profile.of);
  command
      ->add_option("--replays", arguments->profile.replays,
                   "Of every measured beginning of the graph; 7 if not given")
      ->check(CLI::Range(1, 1000))
      ->type_name("N");
  command->add_option("--trace", arguments->trace, "Writes a trace for Chrome or Perfetto")
      ->type_name("FILE");
  command->add_flag("--json", arguments->json, "Prints one JSON object in place of a table");
  command->footer(kExample);
  command->callback([command, arguments, &status] {
    const bool traces = command->count("--trace") > 0;
    if (traces) check_writable(arguments->trace, "--trace");
    arguments->profile.of.load.progress = progress_bar();
    const ProfileReport report = profile(arguments->profile);
    if (traces) write_file(arguments->trace, chrome_trace(report), "--trace");
    arguments->json ? print_report_json(report) : print_report(report);
    status = kOk;
  });
}

}  // namespace saccade::cli
