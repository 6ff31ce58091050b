#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "commands.h"
#include "output.h"
#include "saccade/error.h"

namespace {

using namespace saccade;
using namespace saccade::cli;

constexpr auto kVersion = "saccade 0.1.0";

constexpr auto kHelp = R"(Examples:
  saccade synth /tmp/tiny
      makes a small random checkpoint to try the other commands with
  saccade inspect /tmp/tiny
      says what a checkpoint holds and what is wrong with it
  saccade infer ~/pi05_base --image base_0_rgb=front.jpg --state 0.1,0.2,0.3 \
      --prompt "pick up the cup"
      prints one chunk of actions
  saccade serve ~/pi05_libero --openpi-config pi05_libero
      answers openpi's clients on port 8000
  saccade verify ~/pi05_base --reference ref.safetensors
      compares every stage with what the reference implementation computed
  saccade bench --synthetic pi05 --views 2
      measures how long an inference takes, without any file

saccade COMMAND --help explains a command.
Exit status: 0 done, 1 verify or replay failed, 2 bad input or usage, 3 anything else.)";

int report(std::string message, int status) {
  while (!message.empty() && message.back() == '\n') message.pop_back();
  std::replace(message.begin(), message.end(), '\n', ' ');
  std::fprintf(stderr, "saccade: %s\n", message.c_str());
  return status;
}

int run(int argc, char** argv) {
  secure_standard_streams();
  // A closed pipe is reported like any other output that cannot be written.
  std::signal(SIGPIPE, SIG_IGN);

  int status = kOk;
  CLI::App app{"Runs robot policies (Pi0, Pi0.5) from the checkpoints that you have.", "saccade"};
  app.set_version_flag("--version", kVersion);
  app.footer(kHelp);
  app.require_subcommand(1);
  add_infer(app, status);
  add_inspect(app, status);
  add_verify(app, status);
  add_bench(app, status);
  add_profile(app, status);
  add_replay(app, status);
  add_serve(app, status);
  add_synth(app, status);
  add_tiles(app, status);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    app.exit(help);
  }
  flush_output();
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const CLI::ParseError& error) {
    return report(error.what() + std::string("; see --help"), kBadInput);
  } catch (const InvalidArgument& error) {
    return report(error.what(), kBadInput);
  } catch (const std::bad_alloc&) {
    return report("there is not enough memory", kFailed);
  } catch (const std::exception& error) {
    return report(error.what(), kFailed);
  }
}
