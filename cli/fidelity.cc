#include "fidelity.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "commands.h"
#include "core/check.h"
#include "options.h"
#include "output.h"
#include "progress.h"
#include "runtime/policy_json.h"
#include "table.h"

namespace saccade::cli {
namespace {

std::string scientific(double value) { return fmt::format("{:.2e}", value); }

void print_stages(const FidelityReport& report) {
  Table table({"stage", "cosine", "relative error", "largest error", "not finite", "saturated"});
  for (const StageFidelity& stage : report.stages) {
    table.add({stage.stage, fmt::format("{:.6f}", stage.errors.cosine()),
               scientific(stage.errors.relative()), scientific(stage.errors.max_abs),
               format_count(stage.counts.non_finite), format_count(stage.counts.saturated)});
  }
  print(table.str());
  Table inside({"between the stages", "values", "not finite", "saturated"});
  for (const InsideCounts& counted : report.inside) {
    inside.add({counted.name, format_count(counted.counts.values),
                format_count(counted.counts.non_finite), format_count(counted.counts.saturated)});
  }
  print("\n" + inside.str());
}

void print_joints(const FidelityReport& report) {
  if (report.joints.empty()) {
    return print("\nActions are not finite, so that they have no error in physical units.\n");
  }
  Table table({"action", "largest error", "rms error", "span of values"});
  for (const JointError& joint : report.joints) {
    table.add({joint.name, scientific(joint.max_abs), scientific(joint.rms),
               fmt::format("{:.4g}", joint.span)});
  }
  print("\n" + table.str());
}

std::string observations_of(const FidelityReport& report) {
  if (report.available == 0) return fmt::format("{} made-up observations", report.observations);
  return fmt::format("{} of {} observations", report.observations, report.available);
}

void print_report(const FidelityReport& report) {
  print_warnings(report.info.warnings);
  print_notes(report.info.notes);
  print_warnings(report.warnings);
  print_stages(report);
  print_joints(report);
  print(fmt::format(
      "\n{} in {} against {}, {}: the normalised actions differ by {:.2e} of their "
      "norm, by {:.2e} at most\n",
      name_of(report.info.model), name_of(report.info.precision), name_of(report.against),
      observations_of(report), report.action_error(), report.stages.back().errors.max_abs));
}

Json to_json(const ValueCounts& counts) {
  return {{"values", counts.values},
          {"non_finite", counts.non_finite},
          {"saturated", counts.saturated}};
}

/// Errors that are not finite become null, since JSON has no word for them.
void print_report_json(const FidelityReport& report) {
  Json stages = Json::array();
  for (const StageFidelity& stage : report.stages) {
    Json entry = {{"stage", stage.stage},
                  {"cosine", stage.errors.cosine()},
                  {"relative", stage.errors.relative()},
                  {"max_abs", stage.errors.max_abs}};
    entry.update(to_json(stage.counts));
    entry["reference_non_finite"] = stage.reference_non_finite;
    stages.push_back(std::move(entry));
  }
  Json inside = Json::object();
  for (const InsideCounts& counted : report.inside) inside[counted.name] = to_json(counted.counts);
  Json joints = Json::array();
  for (const JointError& joint : report.joints) {
    joints.push_back({{"name", joint.name},
                      {"max_abs", joint.max_abs},
                      {"rms", joint.rms},
                      {"span", joint.span}});
  }
  Json json = {{"precision", name_of(report.info.precision)},
               {"against", name_of(report.against)},
               {"observations", report.observations},
               {"action_error", report.action_error()},
               {"stages", stages},
               {"inside", inside},
               {"actions", joints},
               {"warnings", report.warnings},
               {"policy", saccade::to_json(report.info)}};
  if (report.available > 0) json["available_observations"] = report.available;
  print_json(json);
}

}  // namespace

CLI::Option* add_fidelity_options(CLI::App& command, FidelityArguments& arguments) {
  FidelityOptions& options = arguments.options;
  CLI::Option* fidelity =
      command.add_flag("--fidelity", arguments.is_wanted,
                       "In place of --reference: compares --precision with a more exact one");
  add_choice(command, "--against", {"f32", "bf16"}, "The more exact one; f32 if not given",
             [&](std::size_t i) { options.against = i == 0 ? Precision::kF32 : Precision::kBf16; });
  command
      .add_option("--observations", arguments.observations,
                  "A directory of *.safetensors or *.json, one observation each; else made up")
      ->type_name("DIR");
  command
      .add_option("--count", options.count,
                  "Observations; else 4, or the first 16 of --observations")
      ->check(CLI::Range(1, 1000))
      ->type_name("N");
  command.add_option("--seed", options.seed, "Of made-up observations; 0 if not given")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N");
  command
      .add_option("--max-error", arguments.max_error,
                  "Exit status 1 if the actions' relative error is larger")
      ->type_name("X");
  for (const char* name : {"--against", "--observations", "--count", "--seed", "--max-error"}) {
    command.get_option(name)->needs(fidelity);
  }
  return fidelity;
}

int run_fidelity(const std::string& checkpoint, FidelityArguments& arguments, bool json) {
  const double most = arguments.max_error.value_or(0);
  SACCADE_CHECK(most >= 0, "--max-error", "must be 0 or more, got ", most);
  arguments.options.observations = arguments.observations;
  arguments.options.load.progress = progress_bar();
  const FidelityReport report = fidelity(checkpoint, arguments.options);
  json ? print_report_json(report) : print_report(report);
  const double error = report.action_error();
  // NaN compares false with everything, and is no small error.
  if (!arguments.max_error || error <= most) return kOk;
  fmt::print(stderr, "saccade: the actions differ by {:.3g} of their norm, more than {:g}\n", error,
             most);
  return kVerifyFailed;
}

}  // namespace saccade::cli
