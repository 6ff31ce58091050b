#include "runtime/bench.h"

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "bench_case.h"
#include "commands.h"
#include "options.h"
#include "output.h"
#include "progress.h"
#include "runtime/policy_json.h"
#include "table.h"

namespace saccade::cli {
namespace {

constexpr auto kExample = R"(Examples:
  saccade bench --synthetic pi05 --views 2 --prompt-tokens 20 --chunk 50
  saccade bench ~/pi05_base --views 2 --json

Graph: one inference on the GPU, replayed without a pause. Wall: from frames in host memory to
actions in host memory, tokens given. The floor is the time that the weights' bytes and the
products' operations take at least on an H200, op by op.)";

struct Arguments {
  BenchOptions bench;
  bool json = false;
};

std::string ms(double value) { return fmt::format("{:.3f}", value); }

std::string percent_of_floor(double floor, double measured) {
  return floor > 0 && measured > 0 ? fmt::format("{:.0f} %", 100 * floor / measured) : "-";
}

void add_spread(Table& table, const char* name, const Spread& spread) {
  table.add({name, std::to_string(spread.count), ms(spread.p50), ms(spread.p95), ms(spread.p99),
             ms(spread.max)});
}

double host_ms(const BenchReport& report) { return report.wall.p50 - report.gpu->replay.p50; }

void print_parts(const BenchReport& report) {
  Table table({"part", "p50 ms", "floor ms", "of floor", "kernels"});
  double floor = 0;
  for (const PartReport& part : report.parts) {
    floor += part.floor.ms;
    table.add({part.name, ms(part.p50_ms), part.floor.ms > 0 ? ms(part.floor.ms) : "-",
               percent_of_floor(part.floor.ms, part.p50_ms),
               report.gpu ? std::to_string(part.kernels) : "-"});
  }
  if (report.gpu) {
    const GpuReport& gpu = *report.gpu;
    table.add({"graph", ms(gpu.replay.p50), floor > 0 ? ms(floor) : "-",
               percent_of_floor(floor, gpu.replay.p50), std::to_string(gpu.kernels)});
    table.add({"host", ms(host_ms(report)), "-", "-", "-"});
  }
  print("\n" + table.str());
}

void add_prompt(Table& table, const char* name, const std::optional<NewPrompt>& prompt) {
  if (!prompt) return;
  table.add({name, fmt::format("{:+.3f} ms at {} tokens (first {:.3f}, then {:.3f})",
                               prompt->first_ms - prompt->usual_ms, prompt->tokens,
                               prompt->first_ms, prompt->usual_ms)});
}

void print_facts(const BenchReport& report) {
  Table table({"load", fmt::format("{:.2f} s", report.load_ms * 1e-3)});
  table.left(1);
  table.add(
      {"process start to first action", fmt::format("{:.2f} s", report.first_action_ms * 1e-3)});
  table.add({"weights", format_bytes(report.policy.weight_bytes)});
  table.add({"buffers", format_bytes(report.policy.buffer_bytes)});
  if (report.gpu) {
    const GpuReport& gpu = *report.gpu;
    table.add(
        {"device memory", fmt::format("{}, {} with the driver's", format_bytes(gpu.policy_bytes),
                                      format_bytes(gpu.used_bytes))});
    table.add({"overlapping edges",
               fmt::format("{} of a graph of {} kernels", gpu.overlapping_edges, gpu.kernels)});
    table.add({"while measured", fmt::format("{} allocations, {} graphs recorded", gpu.allocations,
                                             gpu.recorded_graphs)});
    table.add({"every result has the same bits", gpu.same_bits ? "yes" : "NO"});
    add_prompt(table, "a new prompt, same graph", gpu.same_graph);
    add_prompt(table, "a new prompt, another graph", gpu.other_graph);
    table.add({"clock", fmt::format("{} MHz before, {} during, {} after", gpu.clock_before_mhz,
                                    gpu.clock_during_mhz, gpu.clock_after_mhz)});
  }
  print("\n" + table.str());
}

void print_report(const BenchReport& report) {
  const PolicyInfo& info = report.policy;
  print_warnings(info.warnings);
  print_notes(info.notes);
  print(fmt::format("{}, {} views of {}x{}, {} prompt tokens, {} actions, {} steps, {} on {}\n\n",
                    name_of(info.model), report.views, report.frame_height, report.frame_width,
                    report.prompt_tokens, info.chunk, info.steps, name_of(info.precision),
                    report.gpu ? describe(report.gpu->gpu) : "the CPU"));
  Table times({"ms", "runs", "p50", "p95", "p99", "max"});
  if (report.gpu) add_spread(times, "graph", report.gpu->replay);
  add_spread(times, "wall", report.wall);
  print(times.str());
  print_parts(report);
  print_facts(report);
}

Json to_json(const Spread& spread) {
  return {{"count", spread.count},
          {"p50", spread.p50},
          {"p95", spread.p95},
          {"p99", spread.p99},
          {"max", spread.max}};
}

Json to_json(const std::optional<NewPrompt>& prompt) {
  if (!prompt) return nullptr;
  return {{"tokens", prompt->tokens},
          {"first_ms", prompt->first_ms},
          {"usual_ms", prompt->usual_ms},
          {"extra_ms", prompt->first_ms - prompt->usual_ms}};
}

Json to_json(const GpuReport& gpu) {
  return {{"same_bits", gpu.same_bits},
          {"kernels", gpu.kernels},
          {"overlapping_edges", gpu.overlapping_edges},
          {"policy_bytes", gpu.policy_bytes},
          {"used_bytes", gpu.used_bytes},
          {"allocations_while_measured", gpu.allocations},
          {"graphs_recorded_while_measured", gpu.recorded_graphs},
          {"clock_mhz",
           {{"before", gpu.clock_before_mhz},
            {"during", gpu.clock_during_mhz},
            {"after", gpu.clock_after_mhz}}},
          {"new_prompt", to_json(gpu.same_graph)},
          {"new_prompt_other_graph", to_json(gpu.other_graph)}};
}

Json to_json(const PartReport& part, bool on_gpu) {
  Json json = {{"p50_ms", part.p50_ms}};
  if (part.floor.ms > 0) {
    json["floor_ms"] = part.floor.ms;
    json["flops"] = part.floor.flops;
    json["weight_bytes"] = part.floor.bytes;
  }
  if (on_gpu) json["kernels"] = part.kernels;
  return json;
}

void print_report_json(const BenchReport& report) {
  const PolicyInfo& info = report.policy;
  Json parts = Json::object();
  for (const PartReport& part : report.parts) {
    parts[part.name] = to_json(part, report.gpu.has_value());
  }
  if (report.gpu) parts["host"] = {{"p50_ms", host_ms(report)}};
  Json json = environment_json(info, report.gpu ? &report.gpu->gpu : nullptr);
  json["case"] = case_json(info, report.views, report.prompt_tokens);
  if (report.outliers) json["case"]["outliers"] = true;
  json["case"]["frame"] = {report.frame_height, report.frame_width};
  if (report.gpu) json["graph_ms"] = to_json(report.gpu->replay);
  json["wall_ms"] = to_json(report.wall);
  json["parts"] = parts;
  json["load_ms"] = report.load_ms;
  json["first_action_ms"] = report.first_action_ms;
  if (report.gpu) json["gpu_run"] = to_json(*report.gpu);
  json["policy"] = saccade::to_json(info);
  print_json(json);
}

}  // namespace

void add_bench(CLI::App& app, int& status) {
  CLI::App* command = app.add_subcommand("bench", "Measures how long an inference takes");
  const auto arguments = std::make_shared<Arguments>();
  BenchOptions& options = arguments->bench;
  add_bench_case(*command, options.of);
  command->add_option("--replays", options.replays, "Of the graph on a GPU; 300 if not given")
      ->check(CLI::Range(1, 1'000'000))
      ->type_name("N");
  command
      ->add_option("--inferences", options.inferences,
                   "From frames to actions; 2000 on a GPU and 10 on the CPU if not given")
      ->check(CLI::Range(1, 1'000'000))
      ->type_name("N");
  command->add_flag("--json", arguments->json, "Prints one JSON object in place of tables");
  command->footer(kExample);
  command->callback([arguments, &status] {
    arguments->bench.of.load.progress = progress_bar();
    const BenchReport report = bench(arguments->bench);
    arguments->json ? print_report_json(report) : print_report(report);
    status = kOk;
  });
}

}  // namespace saccade::cli
