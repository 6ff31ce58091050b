#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "core/check.h"
#include "options.h"
#include "output.h"
#include "progress.h"
#include "runtime/policy_json.h"
#include "runtime/stage_errors.h"
#include "server/recording.h"
#include "table.h"

namespace saccade::cli {
namespace {

constexpr auto kExample = R"(Examples:
  saccade serve ~/pi05_libero --openpi-config pi05_libero --record monday/
  saccade replay monday/
  saccade replay monday/ ~/pi05_libero_tuned --max-error 0.05

Every recorded observation runs again with the noise that it had, and its actions are compared. The
policy is loaded as it was for the server, in the precision and on the device that it had there,
unless options say otherwise. On the same machine the actions are the same to the last bit.
Relative errors are Euclidean: |now - recorded| / |recorded|.
Exit status: 0, or 1 when the actions of a request differ by more than --max-error.)";

struct Arguments {
  std::string directory;
  std::string checkpoint;
  LoadOptions load;
  double max_error = 0;
  bool json = false;
};

/// What became of a request this time.
struct Replayed {
  const server::RecordedRequest* request = nullptr;
  ErrorSums errors;
  bool same_bits = false;
  std::string refusal;  // of a policy that takes no such observation or gives other actions

  bool passes(double max_error) const { return refusal.empty() && errors.relative() <= max_error; }
};

template <typename T>
void inherit(T& given, const T& recorded) {
  if (given == T()) given = recorded;
}

/// The options on the command line, and those of the recording where there are none.
LoadOptions merge(LoadOptions given, const LoadOptions& recorded) {
  inherit(given.model, recorded.model);
  inherit(given.mode, recorded.mode);
  inherit(given.device, recorded.device);
  if (!given.auto_precision) inherit(given.precision, recorded.precision);
  inherit(given.steps, recorded.steps);
  inherit(given.chunk, recorded.chunk);
  inherit(given.max_prompt_tokens, recorded.max_prompt_tokens);
  inherit(given.vision_heads, recorded.vision_heads);
  inherit(given.openpi_config, recorded.openpi_config);
  inherit(given.statistics, recorded.statistics);
  inherit(given.tokenizer, recorded.tokenizer);
  return given;
}

Replayed replay(Policy& policy, const std::string& directory,
                const server::RecordedRequest& request) {
  const server::RecordedReply recorded = server::read_reply(directory, request);
  Replayed replayed;
  replayed.request = &request;
  ActionChunk chunk;
  try {
    chunk = policy.infer(recorded.stored.observation);
  } catch (const InvalidArgument& error) {
    replayed.refusal = error.what();
    return replayed;
  }
  if (chunk.actions != recorded.actions || chunk.action_dim != recorded.action_dim) {
    replayed.refusal =
        fmt::format("{} x {} actions were recorded, the policy gives {} x {}", recorded.actions,
                    recorded.action_dim, chunk.actions, chunk.action_dim);
    return replayed;
  }
  for (std::size_t i = 0; i < chunk.values.size(); ++i) {
    replayed.errors.add(chunk.values[i], recorded.values[i]);
  }
  replayed.same_bits = std::memcmp(chunk.values.data(), recorded.values.data(),
                                   chunk.values.size() * sizeof(float)) == 0;
  return replayed;
}

void print_report(const PolicyInfo& info, const std::vector<Replayed>& all, std::size_t skipped,
                  double max_error) {
  constexpr std::size_t kShown = 20;
  print_warnings(info.warnings);
  print_notes(info.notes);
  std::vector<const Replayed*> others;
  for (const Replayed& replayed : all) {
    if (!replayed.same_bits) others.push_back(&replayed);
  }
  const auto badness = [](const Replayed& replayed) {
    return std::pair(!replayed.refusal.empty(), replayed.errors.relative());
  };
  std::stable_sort(others.begin(), others.end(),
                   [&](const auto* a, const auto* b) { return badness(*a) > badness(*b); });
  Table table({"request", "connection", "seed", "largest error", "relative error", "note"});
  table.left(5);
  for (std::size_t i = 0; i < std::min(kShown, others.size()); ++i) {
    const Replayed& replayed = *others[i];
    const bool compared = replayed.refusal.empty();
    table.add({replayed.request->file, std::to_string(replayed.request->connection),
               std::to_string(replayed.request->seed),
               compared ? fmt::format("{:.2e}", replayed.errors.max_abs) : "-",
               compared ? fmt::format("{:.2e}", replayed.errors.relative()) : "-",
               replayed.refusal});
  }
  if (!others.empty()) print(table.str());
  if (others.size() > kShown) print(fmt::format("and {} more\n", others.size() - kShown));
  const auto failed = std::count_if(all.begin(), all.end(), [&](const Replayed& replayed) {
    return !replayed.passes(max_error);
  });
  print(fmt::format(
      "{}{}: of {} requests {} gave the same bits, {} differ by more than {:g} ({}, {}, {})\n",
      others.empty() ? "" : "\n", failed == 0 ? "PASS" : "FAIL", all.size(),
      all.size() - others.size(), failed, max_error, name_of(info.model), name_of(info.precision),
      name_of(info.device)));
  if (skipped > 0) print(fmt::format("{} more had got an error and were left out\n", skipped));
}

/// Errors that are not finite become null, since JSON has no word for them.
void print_report_json(const PolicyInfo& info, const std::vector<Replayed>& all,
                       std::size_t skipped, double max_error, bool passed) {
  Json requests = Json::array();
  for (const Replayed& replayed : all) {
    const server::RecordedRequest& request = *replayed.request;
    Json entry = {{"file", request.file},
                  {"connection", request.connection},
                  {"seed", request.seed},
                  {"passed", replayed.passes(max_error)},
                  {"same_bits", replayed.same_bits}};
    if (replayed.refusal.empty()) {
      entry["max_abs"] = replayed.errors.max_abs;
      entry["relative"] = replayed.errors.relative();
    } else {
      entry["refusal"] = replayed.refusal;
    }
    requests.push_back(std::move(entry));
  }
  print_json({{"passed", passed},
              {"max_error", max_error},
              {"without_actions", skipped},
              {"requests", requests},
              {"policy", to_json(info)}});
}

int run_replay(const Arguments& arguments) {
  SACCADE_CHECK(arguments.max_error >= 0, "--max-error", "must be 0 or more, got ",
                arguments.max_error);
  const server::Recording recording = server::read_recording(arguments.directory);
  std::vector<const server::RecordedRequest*> requests;
  for (const server::RecordedRequest& request : recording.requests) {
    if (request.error.empty()) requests.push_back(&request);
  }
  SACCADE_CHECK(!requests.empty(), arguments.directory, "no request of the recording got actions");
  LoadOptions load = merge(arguments.load, recording.policy.load);
  load.progress = progress_bar();
  const std::filesystem::path checkpoint = arguments.checkpoint.empty()
                                               ? recording.policy.checkpoint
                                               : std::filesystem::path(arguments.checkpoint);
  Policy policy = Policy::load(checkpoint, load);
  std::vector<Replayed> all;
  for (const server::RecordedRequest* request : requests) {
    all.push_back(replay(policy, arguments.directory, *request));
  }
  const bool passed = std::all_of(all.begin(), all.end(), [&](const Replayed& replayed) {
    return replayed.passes(arguments.max_error);
  });
  const std::size_t skipped = recording.requests.size() - requests.size();
  if (arguments.json) {
    print_report_json(policy.info(), all, skipped, arguments.max_error, passed);
  } else {
    print_report(policy.info(), all, skipped, arguments.max_error);
  }
  return passed ? kOk : kVerifyFailed;
}

}  // namespace

void add_replay(CLI::App& app, int& status) {
  CLI::App* command =
      app.add_subcommand("replay", "Runs the requests that a server recorded, and compares");
  const auto arguments = std::make_shared<Arguments>();
  command->add_option("DIR", arguments->directory, "What saccade serve --record has written")
      ->required();
  command->add_option("CKPT", arguments->checkpoint,
                      "Another checkpoint; the server's if not given");
  command
      ->add_option("--max-error", arguments->max_error,
                   "Largest relative error of a request's actions that passes; 0 if not given")
      ->type_name("X");
  command->add_flag("--json", arguments->json, "Prints one JSON object in place of a table");
  add_load_options(*command, arguments->load);
  command->footer(kExample);
  command->callback([arguments, &status] { status = run_replay(*arguments); });
}

}  // namespace saccade::cli
