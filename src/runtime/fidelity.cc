#include "runtime/fidelity.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/check.h"
#include "runtime/auto_precision.h"
#include "runtime/loaded_policy.h"
#include "runtime/observations.h"
#include "runtime/prompter.h"

namespace saccade {
namespace {

namespace fs = std::filesystem;

constexpr auto kWhere = "fidelity";
constexpr int kMadeUp = 4;
constexpr int kMostOfDirectory = 16;
constexpr int kMostObservations = 1000;
constexpr auto kActions = "actions";

/// What one inference computed, stage by stage.
struct Run {
  std::map<std::string, std::vector<float>> stages;
  std::vector<float> actions;  // in physical units; empty when not finite
};

/// Where the observations come from: each is read, or made, again for each precision.
class Source {
 public:
  explicit Source(const FidelityOptions& options) : options_(options) {
    const int wanted = options.count.value_or(kMadeUp);
    SACCADE_CHECK(wanted >= 1 && wanted <= kMostObservations, kWhere,
                  "the number of observations must be from 1 to ", kMostObservations, ", got ",
                  wanted);
    size_ = wanted;
    if (options.observations.empty()) return;
    files_ = observation_files(options.observations);
    size_ = std::min(options.count.value_or(kMostOfDirectory), available());
  }

  int size() const { return size_; }
  int available() const { return int(files_.size()); }

  StoredObservation get(const LoadedPolicy& policy, int i) const {
    if (!files_.empty()) return read_observation(files_[std::size_t(i)]);
    return make_observation(policy.config, policy.info, policy.engine.dims.vocabulary,
                            options_.seed + std::uint64_t(i));
  }

 private:
  const FidelityOptions& options_;
  std::vector<fs::path> files_;
  int size_ = 0;
};

bool is_inside(const std::string& stage) { return stage.starts_with("inside."); }

/// "inside.vision.hidden" is counted as "vision hidden".
std::string inside_name(const std::string& stage) {
  std::string name = stage.substr(stage.find('.') + 1);
  name[name.find('.')] = ' ';
  return name;
}

/// Runs the observations through a policy in one precision.
class Session {
 public:
  Session(LoadedPolicy& policy, const Prompter& prompter, const Source& source)
      : policy_(policy), prompter_(prompter), source_(source) {}

  /// `see(stage, tensor)` sees every stage where the host can read it. Returns the actions in
  /// physical units, or none when they are not finite.
  template <typename See>
  std::vector<float> run(int i, std::vector<std::string>& warnings, See see) {
    const StoredObservation stored = source_.get(policy_, i);
    try {
      return run(stored.observation, warnings, see);
    } catch (const InvalidArgument& error) {
      throw InvalidArgument(stored.name + ": " + error.what());
    }
  }

 private:
  template <typename See>
  std::vector<float> run(const Observation& observation, std::vector<std::string>& warnings,
                         See see) {
    const PreparedState robot =
        prepare_state(policy_.config, observation.state, policy_.info.max_state_dim);
    const std::vector<int> tokens =
        prompter_.tokenize(policy_, observation, robot.normalized, warnings);
    policy_.write_inputs(observation, robot, tokens);
    HostReader host;
    const Stream& stream = policy_.engine.stream;
    policy_.runner.run_probed(int(tokens.size()), [&](const std::string& stage, Tensor tensor) {
      see(stage, host.read(stream, tensor));
    });
    if (stream.device == Device::kCuda) {
      // What users are given comes from the graph, whose ops overlap.
      std::vector<StageTime> times;
      policy_.write_inputs(observation, robot, tokens);
      policy_.run(tokens, times);
    }
    std::vector<float> actions = policy_.normalized_actions();
    const Shape shape{policy_.engine.host_inputs.x.shape[0], policy_.info.action_dim};
    see(kActions, Tensor{actions.data(), shape, DType::kF32, Device::kCpu});
    const bool finite = std::all_of(actions.begin(), actions.end(),
                                    [](float value) { return std::isfinite(value); });
    return finite ? policy_.read_actions(robot) : std::vector<float>{};
  }

  LoadedPolicy& policy_;
  const Prompter& prompter_;
  const Source& source_;
};

/// Collects what the two precisions computed.
class Comparison {
 public:
  void remember(LoadedPolicy& policy, const Prompter& prompter, const Source& source) {
    Session session(policy, prompter, source);
    for (int i = 0; i < source.size(); ++i) {
      Run& run = runs_.emplace_back();
      const auto keep = [&](const std::string& stage, const Tensor& tensor) {
        if (is_inside(stage)) return;
        run.stages[stage] = widened(tensor);
      };
      run.actions = session.run(i, report_.warnings, keep);
    }
  }

  void compare(LoadedPolicy& policy, const Prompter& prompter, const Source& source) {
    report_.info = policy.info;
    Session session(policy, prompter, source);
    for (int i = 0; i < source.size(); ++i) {
      Run& run = runs_[std::size_t(i)];
      std::size_t next = 0;
      std::vector<std::string> already_given;
      const auto see = [&](const std::string& stage, const Tensor& tensor) {
        if (is_inside(stage)) return count_inside(stage, tensor);
        add(run.stages.at(stage), tensor, find_stage(stage, next));
      };
      const std::vector<float> actions = session.run(i, already_given, see);
      add_joints(run.actions, actions);
      run = {};
    }
  }

  FidelityReport finish(const Source& source, const Precisions& against) {
    report_.against = against;
    report_.observations = source.size();
    report_.available = source.available();
    if (has_joints_) {
      for (std::size_t i = 0; i < joints_.size(); ++i) report_.joints.push_back(joint(i));
    }
    return std::move(report_);
  }

 private:
  /// Of one column of the actions.
  struct Joint {
    ErrorSums errors;
    std::uint64_t values = 0;
    double low = INFINITY;
    double high = -INFINITY;
  };

  /// The stage behind those that were seen before it. Observations of more views have more stages.
  StageFidelity& find_stage(const std::string& name, std::size_t& next) {
    auto& stages = report_.stages;
    auto stage = std::ranges::find(stages, name, &StageFidelity::stage);
    if (stage == stages.end()) {
      stage = stages.insert(stages.begin() + std::ptrdiff_t(next), StageFidelity{.stage = name});
    }
    next = std::size_t(stage - stages.begin()) + 1;
    return *stage;
  }

  static void add(const std::vector<float>& reference, const Tensor& tensor, StageFidelity& stage) {
    const std::vector<float> values = widened(tensor);
    SACCADE_CHECK(values.size() == reference.size(), kWhere, stage.stage, " has ", values.size(),
                  " values in one precision and ", reference.size(), " in the other");
    for (std::size_t i = 0; i < values.size(); ++i) {
      stage.errors.add(values[i], reference[i]);
      stage.reference_non_finite += !std::isfinite(reference[i]);
    }
    stage.counts.add(tensor);
  }

  void count_inside(const std::string& stage, const Tensor& tensor) {
    const std::string name = inside_name(stage);
    auto found = std::ranges::find(report_.inside, name, &InsideCounts::name);
    if (found == report_.inside.end()) {
      found = report_.inside.insert(found, InsideCounts{.name = name});
    }
    found->counts.add(tensor);
  }

  void add_joints(const std::vector<float>& reference, const std::vector<float>& actions) {
    has_joints_ = has_joints_ && !reference.empty() && !actions.empty();
    if (!has_joints_) return;
    joints_.resize(std::size_t(report_.info.action_dim));
    for (std::size_t i = 0; i < reference.size(); ++i) {
      Joint& joint = joints_[i % joints_.size()];
      joint.errors.add(actions[i], reference[i]);
      joint.low = std::min(joint.low, double(reference[i]));
      joint.high = std::max(joint.high, double(reference[i]));
      ++joint.values;
    }
  }

  JointError joint(std::size_t i) const {
    const Joint& joint = joints_[i];
    const auto& names = report_.info.action_names;
    return {.name = i < names.size() ? names[i] : "action " + std::to_string(i),
            .max_abs = joint.errors.max_abs,
            .rms = std::sqrt(joint.errors.difference / double(joint.values)),
            .span = joint.high - joint.low};
  }

  FidelityReport report_;
  std::vector<Run> runs_;
  std::vector<Joint> joints_;
  bool has_joints_ = true;
};

}  // namespace

FidelityReport fidelity(const fs::path& checkpoint, const FidelityOptions& options) {
  const Source source(options);
  PolicyPlan judged = decide_precision(plan_policy(checkpoint, options.load));
  const Precisions against = options.against;
  SACCADE_CHECK(judged.options.precision != against, kWhere, "the policy runs in ",
                name_of(against), " and would be compared with itself; give another precision");
  const Prompter prompter(options.load.tokenizer, judged.files.root,
                          judged.blueprint.dims.vocabulary);
  Comparison comparison;
  {
    LoadedPolicy reference(with_precision(judged, against));
    comparison.remember(reference, prompter, source);
  }
  LoadedPolicy policy(std::move(judged));
  comparison.compare(policy, prompter, source);
  return comparison.finish(source, against);
}

}  // namespace saccade
