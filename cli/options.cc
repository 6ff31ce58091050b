#include "options.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace saccade::cli {
void add_checkpoint_argument(CLI::App& command, std::string& checkpoint) {
  command
      .add_option("CKPT", checkpoint,
                  "A LeRobot or openpi directory (PyTorch or JAX), or a safetensors file")
      ->required();
}

void add_choice(CLI::App& command, const std::string& flag, const std::vector<std::string>& words,
                const std::string& description, std::function<void(std::size_t)> choose) {
  command
      .add_option_function<std::string>(
          flag,
          [words, choose = std::move(choose)](const std::string& word) {
            choose(static_cast<std::size_t>(std::find(words.begin(), words.end(), word) -
                                            words.begin()));
          },
          description)
      ->check(CLI::IsMember(words));
}

void add_load_options(CLI::App& command, LoadOptions& options) {
  constexpr int kMost = 1'000'000;
  const auto count = [&](const char* flag, std::optional<int>& value, const char* description) {
    command.add_option(flag, value, description)->check(CLI::Range(1, kMost))->type_name("N");
  };
  add_choice(command, "--model", {"pi0", "pi05"}, "The policy, if the checkpoint does not say",
             [&](std::size_t i) { options.model = i == 0 ? Model::kPi0 : Model::kPi05; });
  add_choice(command, "--mode", {"openpi", "lerobot"},
             "Whose pre- and postprocessing is followed; else by the checkpoint's layout",
             [&](std::size_t i) { options.mode = i == 0 ? Mode::kOpenpi : Mode::kLerobot; });
  add_choice(command, "--device", {"auto", "cpu", "cuda"},
             "Where it runs; auto, the default, is the GPU if one is there", [&](std::size_t i) {
               constexpr std::optional<Device> kDevices[] = {{}, Device::kCpu, Device::kCuda};
               options.device = kDevices[i];
             });
  command
      .add_option_function<std::string>(
          "--precision", [&](const std::string& text) { set_precision(text, options); },
          "f32, bf16, fp8, a mix such as prefix=bf16,expert=fp8, or auto: the fastest whose "
          "measured action error stays below a bound (auto:0.02 sets it); if not given, bf16 on a "
          "GPU and f32 on the CPU")
      ->type_name("TEXT");
  count("--steps", options.steps, "Denoising steps; else the checkpoint's, else 10");
  count("--chunk", options.chunk, "Actions in a chunk; else the checkpoint's, else 50");
  count("--max-prompt-tokens", options.max_prompt_tokens,
        "Longest prompt; else the checkpoint's, else 48 (pi0) or 200 (pi05)");
  count("--vision-heads", options.vision_heads,
        "SigLIP's heads, where its width is no published one");
  command
      .add_option("--openpi-config", options.openpi_config,
                  "Name of an openpi train config, such as pi05_libero")
      ->type_name("NAME");
  command
      .add_option_function<std::string>(
          "--statistics", [&](const std::string& file) { options.statistics = file; },
          "norm_stats.json or a LeRobot statistics file")
      ->type_name("FILE");
  command
      .add_option_function<std::string>(
          "--tokenizer", [&](const std::string& file) { options.tokenizer = file; },
          "A SentencePiece model, such as paligemma_tokenizer.model")
      ->type_name("FILE");
}

}  // namespace saccade::cli
