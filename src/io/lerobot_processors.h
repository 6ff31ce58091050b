#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "io/json.h"

namespace saccade::io {

/// One step of a LeRobot processor file.
struct ProcessorStep {
  std::string name;  // as LeRobot's registry calls it, also where the file has the class
  Fields config;
  std::string state_file;  // empty when there is none
};

/// The steps of a policy_preprocessor.json or policy_postprocessor.json.
class ProcessorFile {
 public:
  /// An empty path has no steps.
  explicit ProcessorFile(const std::filesystem::path&);
  ProcessorFile(const ProcessorFile&) = delete;
  ProcessorFile& operator=(const ProcessorFile&) = delete;

  const std::vector<ProcessorStep>& steps() const { return steps_; }

  /// The step of this name, or null. Fails when there are two.
  const ProcessorStep* find(const std::string& name) const;

 private:
  Json json_;
  std::string where_;
  std::vector<ProcessorStep> steps_;
};

}  // namespace saccade::io
