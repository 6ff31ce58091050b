#include "saccade/policy.h"

#include <utility>

#include "runtime/features.h"
#include "runtime/loaded_policy.h"
#include "runtime/prompter.h"
#include "runtime/stopwatch.h"

namespace saccade {

struct Policy::State {
  Prompter prompter;
  LoadedPolicy policy;
};

Policy Policy::load(const std::filesystem::path& checkpoint, const LoadOptions& options) {
  PolicyPlan plan = plan_policy(checkpoint, options);
  // What can be refused is refused before the weights are read.
  Prompter prompter(options.tokenizer, plan.files.root, plan.blueprint.dims.vocabulary);
  return Policy(
      std::unique_ptr<State>(new State{std::move(prompter), LoadedPolicy(std::move(plan))}));
}

Policy::Policy(std::unique_ptr<State> state) : state_(std::move(state)) {}
Policy::Policy(Policy&&) noexcept = default;
Policy& Policy::operator=(Policy&&) noexcept = default;
Policy::~Policy() = default;

const PolicyInfo& Policy::info() const { return state_->policy.info; }

CUstream_st* Policy::stream() const { return state_->policy.engine.stream.handle; }

ActionChunk Policy::infer(const Observation& observation) {
  LoadedPolicy& policy = state_->policy;
  ActionChunk chunk;
  Stopwatch before(chunk.times);
  const PreparedState robot =
      prepare_state(policy.config, observation.state, policy.info.max_state_dim);
  chunk.tokens = state_->prompter.tokenize(policy, observation, robot.normalized, chunk.warnings);
  policy.write_inputs(observation, robot, chunk.tokens);
  before.mark("preprocess");

  policy.run(chunk.tokens, chunk.times);

  Stopwatch after(chunk.times);
  chunk.actions = policy.info.chunk;
  chunk.action_dim = policy.info.action_dim;
  chunk.values = policy.read_actions(robot);
  after.mark("postprocess");
  return chunk;
}

}  // namespace saccade
