#include <cstdlib>
#include <memory>
#include <random>

#include "commands.h"
#include "core/check.h"
#include "io/policy_config.h"
#include "options.h"
#include "output.h"
#include "progress.h"
#include "server/access.h"
#include "server/log.h"
#include "server/recorder.h"
#include "server/rerun_feed.h"
#include "server/server.h"

namespace saccade::cli {
namespace {

constexpr auto kExample = R"(Examples:
  saccade serve ~/pi05_libero --openpi-config pi05_libero
      speaks openpi's WebSocket protocol on port 8000
  saccade serve ~/pi05_droid --env droid --deadline-ms 100 --api-key-file key.txt
      the same as --openpi-config pi05_droid, with late actions refused and clients known
  saccade serve my_lerobot_policy --env libero
      takes openpi's observations of LIBERO for a LeRobot policy; without --env, the keys are the
      policy's camera names, "state" and "prompt"
  saccade serve ~/pi05_libero --openpi-config pi05_libero --record monday/
      keeps every request and its reply; saccade replay monday/ runs them again
  saccade serve ~/pi05_libero --openpi-config pi05_libero --rerun
      shows frames, actions and latency in the Rerun viewer, on this machine

GET /healthz, /metrics and / (a status page) answer during inference. docs/serving.md has the wire.)";

struct Arguments {
  std::string checkpoint;
  LoadOptions load;
  std::string environment;
  std::string api_key_file;
  std::size_t max_message_mb = 64;
  std::optional<std::uint64_t> seed;
  server::ServerOptions server;
  server::ServiceOptions service;
  server::RecorderOptions record;
  std::uint64_t record_limit_mb = 1024;
  std::optional<std::string> rerun;
};

/// openpi's facts about a robot are in no file of its checkpoints, so --env stands for its config.
void choose_openpi_config(Arguments& arguments) {
  std::string& config = arguments.load.openpi_config;
  if (arguments.environment.empty() || !config.empty()) return;
  if (io::find_checkpoint(arguments.checkpoint).layout == "lerobot") return;
  config = server::default_openpi_config(arguments.environment);
}

std::string api_key(const Arguments& arguments) {
  constexpr auto kVariable = "SACCADE_API_KEY";
  if (!arguments.api_key_file.empty()) return server::read_api_key(arguments.api_key_file);
  const char* key = std::getenv(kVariable);
  return key == nullptr ? "" : server::check_api_key(key, kVariable);
}

std::uint64_t random_seed() {
  std::random_device device;
  return std::uint64_t{device()} << 32 | device();
}

/// Runs the policy once, as for a client: a server that cannot answer does not listen.
void warm_up(Policy& policy, const server::Environment& environment) {
  const PolicyInfo& info = policy.info();
  const std::vector<std::uint8_t> black(std::size_t(info.image_size) * info.image_size * 3);
  Observation observation;
  for (const std::string& camera : info.cameras) {
    observation.frames[camera] = {black.data(), info.image_size, info.image_size};
  }
  std::size_t values = 0;
  for (const auto& part : environment.state) values += part.values;
  if (values == 0) values = std::size_t(info.state_dim > 0 ? info.state_dim : info.max_state_dim);
  observation.state.assign(values, 0.0);
  observation.prompt = "warm up";
  policy.infer(observation);
}

void run_serve(Arguments& arguments) {
  choose_openpi_config(arguments);
  arguments.server.api_key = api_key(arguments);
  arguments.server.max_message_bytes = arguments.max_message_mb << 20;
  arguments.service.seed = arguments.seed ? *arguments.seed : random_seed();
  server::Server server(arguments.server);
  std::optional<server::Recorder> recorder;
  if (!arguments.record.directory.empty()) {
    arguments.record.limit_bytes = arguments.record_limit_mb << 20;
    recorder.emplace(arguments.record);
  }
  std::optional<server::RerunFeed> rerun;
  if (arguments.rerun) rerun.emplace(*arguments.rerun);

  arguments.load.progress = progress_bar();
  Policy policy = Policy::load(arguments.checkpoint, arguments.load);
  const PolicyInfo& info = policy.info();
  print_warnings(info.warnings);
  print_notes(info.notes);
  const server::Environment environment =
      server::make_environment(arguments.environment, arguments.load.openpi_config, info);
  warm_up(policy, environment);
  server::log_line("info", "loaded",
                   {{"model", name_of(info.model)},
                    {"precision", name_of(info.precision)},
                    {"device", name_of(info.device)},
                    {"env", environment.name},
                    {"seed", arguments.service.seed}});
  for (const auto& camera : environment.cameras) {
    server::log_line("info", "camera", {{"key", camera.key}, {"policy", camera.camera}});
  }

  const std::string header = server::index_header(arguments.checkpoint, arguments.load, info);
  if (recorder) {
    recorder->start(header);
    arguments.service.recorder = &*recorder;
  }
  if (rerun) {
    rerun->start(header);
    arguments.service.rerun = &*rerun;
  }
  server::Service service(
      info, environment, [&](const Observation& observation) { return policy.infer(observation); },
      arguments.service);
  server.run(service);
}

void add_network_options(CLI::App& command, Arguments& arguments) {
  command.add_option("--host", arguments.server.host, "Address to listen on; 0.0.0.0 if not given")
      ->type_name("IP");
  command.add_option("--port", arguments.server.port, "8000 if not given; 0: any that is free")
      ->type_name("N");
  command
      .add_option("--max-message-mb", arguments.max_message_mb,
                  "Largest observation in MiB; 64 if not given")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  command
      .add_option("--max-connections", arguments.server.max_connections,
                  "Clients at a time; 32 if not given")
      ->check(CLI::Range(1, 10000))
      ->type_name("N");
  command
      .add_option("--api-key-file", arguments.api_key_file,
                  "Clients must send \"Authorization: Api-Key KEY\" with the key in this file; "
                  "SACCADE_API_KEY in the environment does the same")
      ->type_name("FILE");
}

void add_record_options(CLI::App& command, Arguments& arguments) {
  CLI::Option* record =
      command
          .add_option_function<std::string>(
              "--record",
              [&](const std::string& directory) { arguments.record.directory = directory; },
              "Writes every request and its reply to a new directory, for saccade replay")
          ->type_name("DIR");
  command
      .add_option("--record-limit", arguments.record_limit_mb,
                  "Largest recording in MiB; 1024 if not given. What comes later is counted")
      ->check(CLI::Range(1, 1 << 30))
      ->needs(record)
      ->type_name("MB");
}

void add_rerun_option(CLI::App& command, Arguments& arguments) {
  command
      .add_option_function<std::string>(
          "--rerun",
          [&](const std::string& target) {
            const bool is_file = target.ends_with(".rrd");
            SACCADE_CHECK(target.empty() || is_file || target.find("://") != std::string::npos,
                          "--rerun",
                          "must be a new file that ends in .rrd or the address of a viewer, such "
                          "as rerun+http://127.0.0.1:9876/proxy, got ",
                          target);
            arguments.rerun = target;
          },
          "Shows every request in the Rerun viewer, which is started on this machine unless an "
          "address or a file is given; needs a Python with rerun-sdk")
      ->expected(0, 1)
      ->type_name("ADDRESS|FILE.rrd");
}

}  // namespace

void add_serve(CLI::App& app, int& status) {
  CLI::App* command = app.add_subcommand("serve", "Answers openpi's WebSocket clients");
  const auto arguments = std::make_shared<Arguments>();
  add_checkpoint_argument(*command, arguments->checkpoint);
  const std::vector<std::string>& environments = server::environment_names();
  add_choice(
      *command, "--env", environments,
      "Robot whose observations clients send; else that of --openpi-config, else the "
      "policy's own names",
      [&environments, arguments](std::size_t i) { arguments->environment = environments[i]; });
  add_network_options(*command, *arguments);
  command
      ->add_option("--deadline-ms", arguments->service.deadline_ms,
                   "Actions that take longer, from the arrival of the observation, are refused")
      ->check(CLI::PositiveNumber)
      ->type_name("MS");
  command
      ->add_option("--seed", arguments->seed,
                   "Request i gets the noise of seed N + i; if not given, N is random")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N");
  command->add_flag("--log-requests", arguments->service.log_requests,
                    "Logs a line for every request, with its seed");
  add_record_options(*command, *arguments);
  add_rerun_option(*command, *arguments);
  add_load_options(*command, arguments->load);
  command->footer(kExample);
  command->callback([arguments, &status] {
    run_serve(*arguments);
    status = kOk;
  });
}

}  // namespace saccade::cli
