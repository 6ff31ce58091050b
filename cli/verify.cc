#include "runtime/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "core/check.h"
#include "fidelity.h"
#include "options.h"
#include "output.h"
#include "progress.h"
#include "runtime/policy_json.h"
#include "table.h"

namespace saccade::cli {
namespace {

constexpr auto kExample = R"(Examples:
  saccade verify ~/pi05_base --reference ref.safetensors
  saccade verify ~/pi05_base --reference ref.safetensors --precision bf16 --yardstick bf16.safetensors
  saccade verify ~/pi05_base --fidelity --precision fp8 --observations recorded/

The reference file holds the inputs and what the reference implementation computed from them.
Relative errors are Euclidean: |ours - reference| / |reference|. With a yardstick, which holds what
the reference computes in lower precision, an error may be 1.5 times the yardstick's.
Exit status: 0 when every stage passes, 1 when one does not.

With --fidelity no reference is needed: the policy runs in --precision and in f32 on the same
observations and noise, one after the other, and every stage and every joint is compared. Errors add
up over the steps as they do on a robot. An observation is a safetensors file with a U8 picture for
each camera, "state", and "tokens" or a "prompt" in its metadata; or a JSON file
{"images": {"front": "front.jpg"}, "state": [0.1], "prompt": "pick up the cup"} beside its pictures.
Exit status: 0, or 1 beyond --max-error.)";

struct Arguments {
  std::string checkpoint;
  std::string reference;
  std::string yardstick;
  VerifyOptions verify;
  FidelityArguments fidelity;
  bool json = false;
};

std::string verdict(const StageError& stage) {
  if (!stage.computed) return "-";
  return stage.passed ? "PASS" : "FAIL";
}

std::string scientific(double value) { return fmt::format("{:.2e}", value); }

void print_report(const VerifyReport& report, const Arguments& arguments) {
  print_warnings(report.info.warnings);
  const bool has_yardstick = !arguments.yardstick.empty();
  std::vector<std::string> header{"stage", "largest error", "relative error"};
  if (has_yardstick) header.emplace_back("yardstick's");
  header.insert(header.end(), {"result", "note"});
  Table table(header);
  table.left(header.size() - 1);
  for (const StageError& stage : report.stages) {
    std::vector<std::string> row{stage.stage, "-", "-"};
    if (stage.computed) row = {stage.stage, scientific(stage.max_abs), scientific(stage.relative)};
    if (has_yardstick) row.push_back(stage.yardstick < 0 ? "-" : scientific(stage.yardstick));
    row.insert(row.end(), {verdict(stage), stage.note});
    table.add(std::move(row));
  }
  const auto failed = std::count_if(report.stages.begin(), report.stages.end(),
                                    [](const StageError& stage) { return !stage.passed; });
  print(table.str());
  print(fmt::format("\n{}: {} of {} stages differ too much ({}, {} preprocessing, {}, rtol {:g})\n",
                    report.passed ? "PASS" : "FAIL", failed, report.stages.size(),
                    name_of(report.info.model), name_of(report.info.mode),
                    name_of(report.info.precision), report.rtol));
}

/// Errors that are not finite become null, since JSON has no word for them.
void print_report_json(const VerifyReport& report) {
  Json stages = Json::array();
  for (const StageError& stage : report.stages) {
    Json entry = {{"stage", stage.stage},       {"computed", stage.computed},
                  {"passed", stage.passed},     {"max_abs", stage.max_abs},
                  {"relative", stage.relative}, {"note", stage.note}};
    if (stage.yardstick >= 0) entry["yardstick"] = stage.yardstick;
    stages.push_back(std::move(entry));
  }
  print_json({{"passed", report.passed},
              {"rtol", report.rtol},
              {"policy", to_json(report.info)},
              {"stages", stages}});
}

int run_reference(Arguments& arguments) {
  VerifyOptions& options = arguments.verify;
  SACCADE_CHECK(options.rtol.value_or(0) >= 0, "--rtol", "must be 0 or more, got ",
                options.rtol.value_or(0));
  options.reference = arguments.reference;
  options.yardstick = arguments.yardstick;
  options.load.progress = progress_bar();
  const VerifyReport report = verify(arguments.checkpoint, options);
  arguments.json ? print_report_json(report) : print_report(report, arguments);
  return report.passed ? kOk : kVerifyFailed;
}

}  // namespace

void add_verify(CLI::App& app, int& status) {
  CLI::App* command = app.add_subcommand(
      "verify", "Compares every stage with a reference implementation's, or with more exact ones");
  const auto arguments = std::make_shared<Arguments>();
  VerifyOptions& verify_options = arguments->verify;
  add_checkpoint_argument(*command, arguments->checkpoint);
  CLI::Option* reference =
      command->add_option("--reference", arguments->reference, "What the reference computed")
          ->type_name("FILE");
  command
      ->add_option("--yardstick", arguments->yardstick,
                   "What the reference computed in lower precision")
      ->type_name("FILE")
      ->needs(reference);
  command
      ->add_option("--rtol", verify_options.rtol,
                   "Largest relative error that passes; else 1e-4 on the CPU, 1e-3 on a GPU")
      ->type_name("X")
      ->needs(reference);
  add_fidelity_options(*command, arguments->fidelity)->excludes(reference);
  command->add_flag("--json", arguments->json, "Prints one JSON object in place of a table");
  add_load_options(*command, verify_options.load);
  command->footer(kExample);
  command->callback([arguments, reference, &status] {
    if (arguments->fidelity.is_wanted) {
      arguments->fidelity.options.load = arguments->verify.load;
      status = run_fidelity(arguments->checkpoint, arguments->fidelity, arguments->json);
      return;
    }
    SACCADE_CHECK(reference->count() > 0, "verify", "either --reference or --fidelity is needed");
    status = run_reference(*arguments);
  });
}

}  // namespace saccade::cli
