#include "io/lerobot_processors.h"

#include <array>

#include "core/check.h"

namespace saccade::io {
namespace {

/// Steps are saved under their class where they were not registered.
constexpr std::array<std::array<std::string_view, 2>, 8> kClasses = {{
    {"NormalizerProcessorStep", "normalizer_processor"},
    {"UnnormalizerProcessorStep", "unnormalizer_processor"},
    {"RenameObservationsProcessorStep", "rename_observations_processor"},
    {"AddBatchDimensionProcessorStep", "to_batch_processor"},
    {"TokenizerProcessorStep", "tokenizer_processor"},
    {"DeviceProcessorStep", "device_processor"},
    {"RelativeActionsProcessorStep", "relative_actions_processor"},
    {"AbsoluteActionsProcessorStep", "absolute_actions_processor"},
}};

const Json& empty_object() {
  static const Json kEmpty = Json::object();
  return kEmpty;
}

std::string step_name(const Fields& step) {
  if (const auto name = step.text("registry_name")) return *name;
  const auto path = step.text("class");
  if (!path) step.fail("registry_name", "the name of a step");
  const std::string_view last = std::string_view(*path).substr(path->rfind('.') + 1);
  for (const auto& [class_name, name] : kClasses) {
    if (last == class_name) return std::string(name);
  }
  return std::string(last);
}

ProcessorStep read_step(const Fields& step) {
  const auto config = step.object("config");
  const auto state_file = step.text("state_file");
  if (state_file && !is_plain_file_name(*state_file)) {
    step.fail("state_file", "the name of a file in the same directory");
  }
  return {step_name(step), config.value_or(Fields(empty_object(), step.where())),
          state_file.value_or("")};
}

}  // namespace

ProcessorFile::ProcessorFile(const std::filesystem::path& path)
    : json_(path.empty() ? empty_object() : read_json(path)), where_(path.string()) {
  for (const Fields& step : Fields(json_, where_).objects("steps")) {
    steps_.push_back(read_step(step));
  }
}

const ProcessorStep* ProcessorFile::find(const std::string& name) const {
  const ProcessorStep* found = nullptr;
  for (const ProcessorStep& step : steps_) {
    if (step.name != name) continue;
    SACCADE_CHECK(!found, where_, "there is more than one step ", quote(name));
    found = &step;
  }
  return found;
}

}  // namespace saccade::io
