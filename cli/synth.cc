#include "runtime/synth.h"

#include <fmt/format.h>

#include <chrono>
#include <memory>

#include "commands.h"
#include "core/check.h"
#include "options.h"
#include "output.h"
#include "progress.h"

namespace saccade::cli {
namespace {

constexpr auto kExample = R"(Examples:
  saccade synth /tmp/tiny --model pi0
      1 MB, for a first look and for tests
  saccade synth /data/pi05 --size full --layout openpi
      7 GB with the shapes of pi05_base, to measure with
  saccade synth /data/pi05_outliers --size full --outliers
      the same with a few channels that are far larger, as trained weights have, to judge --precision

The weights are random and depend on the seed only; activations stay of order one, except that with
--outliers one channel of 512 is 32 times as large as the others. Both layouts of one seed hold the
same weights.)";

struct Arguments {
  std::string directory;
  SynthOptions synth;
};

void run_synth(const Arguments& arguments) {
  const auto start = std::chrono::steady_clock::now();
  synthesize_checkpoint(arguments.directory, arguments.synth);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::uint64_t bytes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(arguments.directory)) {
    if (entry.is_regular_file()) bytes += entry.file_size();
  }
  print(fmt::format("wrote {} to {} in {:.1f} s\n", format_bytes(bytes), arguments.directory,
                    seconds.count()));
}

}  // namespace

void add_synth(CLI::App& app, int& status) {
  CLI::App* command =
      app.add_subcommand("synth", "Writes a random checkpoint in a public file layout");
  const auto arguments = std::make_shared<Arguments>();
  SynthOptions& options = arguments->synth;
  command->add_option("DIR", arguments->directory, "A new or an empty directory")->required();
  add_choice(*command, "--model", {"pi0", "pi05"}, "The policy; pi05 if not given",
             [&](std::size_t i) { options.model = i == 0 ? Model::kPi0 : Model::kPi05; });
  add_choice(*command, "--size", {"tiny", "full"}, "Of the towers; tiny if not given",
             [&](std::size_t i) { options.size = i == 0 ? SynthSize::kTiny : SynthSize::kFull; });
  add_choice(*command, "--layout", {"lerobot", "openpi"}, "Of the files; lerobot if not given",
             [&](std::size_t i) {
               options.layout = i == 0 ? SynthLayout::kLerobot : SynthLayout::kOpenpi;
             });
  command->add_option("--seed", options.seed, "Of the weights; 0 if not given")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N");
  const CLI::Option* cameras =
      command->add_option("--cameras", options.cameras, "Of a lerobot policy; 2 if not given")
          ->type_name("N");
  command->add_flag("--outliers", options.outliers,
                    "A few channels of every tower are 32 times as large as others");
  command->footer(kExample);
  command->callback([arguments, cameras, &status] {
    SACCADE_CHECK(cameras->count() == 0 || arguments->synth.layout == SynthLayout::kLerobot,
                  "--cameras", "the openpi layout always has three cameras");
    arguments->synth.progress = progress_bar();
    run_synth(*arguments);
    status = kOk;
  });
}

}  // namespace saccade::cli
