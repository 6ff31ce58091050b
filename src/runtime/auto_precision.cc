#include "runtime/auto_precision.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <optional>
#include <random>
#include <sstream>

#include "core/check.h"
#include "runtime/stage_errors.h"

namespace saccade {
namespace {

constexpr int kObservations = 3;
constexpr int kInferences = 10;      // of each observation,
constexpr double kEnoughMs = 200;    // or until they have taken so long
constexpr double kTieFactor = 0.95;  // what is hardly faster is not worth its error
constexpr int kTokens = 20;
constexpr int kFrameHeight = 480;
constexpr int kFrameWidth = 640;

/// What an inference reads beside the state.
struct Input {
  std::vector<std::uint8_t> pixels;
  std::vector<int> tokens;
  Observation observation;
};

Input make_input(const LoadedPolicy& policy, unsigned seed) {
  constexpr std::size_t kFrameBytes = std::size_t{kFrameHeight} * kFrameWidth * 3;
  std::mt19937 random(seed);
  Input input;
  const std::vector<std::string>& cameras = policy.info.cameras;
  input.pixels.resize(kFrameBytes * cameras.size());
  std::generate(input.pixels.begin(), input.pixels.end(), [&] { return std::uint8_t(random()); });
  for (std::size_t i = 0; i < cameras.size(); ++i) {
    input.observation.frames[cameras[i]] = {input.pixels.data() + kFrameBytes * i, kFrameHeight,
                                            kFrameWidth};
  }
  input.tokens.resize(std::size_t(std::min(kTokens, policy.info.max_prompt_tokens)));
  const auto vocabulary = unsigned(policy.engine.dims.vocabulary);
  std::generate(input.tokens.begin(), input.tokens.end(),
                [&] { return int(random() % vocabulary); });
  input.observation.seed = seed;
  return input;
}

double relative_error(const std::vector<float>& actions, const std::vector<float>& reference) {
  ErrorSums errors;
  for (std::size_t i = 0; i < reference.size(); ++i) errors.add(actions[i], reference[i]);
  return errors.relative();
}

/// Runs a policy on every observation and returns its actions. `ms` becomes the shortest time.
std::vector<std::vector<float>> run(LoadedPolicy& policy, double& ms) {
  using Clock = std::chrono::steady_clock;
  const auto ms_since = [](Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  };
  const PreparedState middle;  // of every value's range
  ms = std::numeric_limits<double>::infinity();
  std::vector<std::vector<float>> actions;
  for (int seed = 0; seed < kObservations; ++seed) {
    const Input input = make_input(policy, unsigned(seed));
    const auto begin = Clock::now();
    for (int i = 0; i < kInferences && (i == 0 || ms_since(begin) < kEnoughMs); ++i) {
      const auto start = Clock::now();
      std::vector<StageTime> times;
      policy.write_inputs(input.observation, middle, input.tokens);
      policy.run(input.tokens, times);
      ms = std::min(ms, ms_since(start));
    }
    actions.push_back(policy.normalized_actions());
  }
  return actions;
}

}  // namespace

std::vector<Precisions> precisions_to_try(const Stream& stream) {
  std::vector<Precisions> precisions{Precision::kBf16};
  if (stream.device == Device::kCpu) precisions.insert(precisions.begin(), Precision::kF32);
  if (!has_fp8(stream)) return precisions;
  precisions.push_back({Precision::kBf16, Precision::kBf16, Precision::kFp8});
  precisions.push_back(Precision::kFp8);
  return precisions;
}

std::vector<PrecisionTrial> try_precisions(const PolicyPlan& plan,
                                           const std::vector<Precisions>& precisions) {
  std::vector<PrecisionTrial> trials;
  std::vector<std::vector<float>> reference;
  for (const Precisions& precision : precisions) {
    LoadedPolicy policy(with_precision(plan, precision));
    PrecisionTrial& trial = trials.emplace_back(PrecisionTrial{precision, 0, 0});
    const std::vector<std::vector<float>> actions = run(policy, trial.ms);
    if (reference.empty()) reference = actions;
    for (std::size_t i = 0; i < reference.size(); ++i) {
      const double error = relative_error(actions[i], reference[i]);
      // NaN compares false with everything, and must stay.
      if (!(error <= trial.error) && !std::isnan(trial.error)) trial.error = error;
    }
    SACCADE_CHECK(trials.size() > 1 || trial.error == 0, "precision",
                  "the actions are not finite in ", name_of(precision),
                  ", so that auto has nothing to compare with");
  }
  return trials;
}

const PrecisionTrial& fastest_within(double bound, const std::vector<PrecisionTrial>& trials) {
  const PrecisionTrial* best = &trials.front();
  for (const PrecisionTrial& trial : trials) {
    if (trial.error <= bound && trial.ms < kTieFactor * best->ms) best = &trial;
  }
  return *best;
}

std::string describe_choice(double bound, const std::vector<PrecisionTrial>& trials,
                            const PrecisionTrial& chosen) {
  std::ostringstream text;
  text.precision(3);
  text << "precision auto takes " << name_of(chosen.precision)
       << ", the fastest whose actions differ from those in " << name_of(trials[0].precision)
       << " by at most " << bound << " of their norm:";
  const char* separator = " ";
  for (const PrecisionTrial& trial : trials) {
    text << separator << name_of(trial.precision) << " by " << trial.error << " in " << trial.ms
         << " ms";
    separator = "; ";
  }
  return text.str();
}

PolicyPlan decide_precision(PolicyPlan plan) {
  if (!plan.auto_precision) return plan;
  const double bound = *plan.auto_precision;
  const std::vector<Precisions> precisions = precisions_to_try(*plan.options.stream);
  if (precisions.size() == 1) {
    PolicyPlan only = with_precision(plan, precisions[0]);
    only.notes.push_back("precision auto takes " + name_of(precisions[0]) +
                         ", the only one on this GPU; fp8 needs compute capability 9.0");
    return only;
  }
  const std::vector<PrecisionTrial> trials = try_precisions(plan, precisions);
  const PrecisionTrial& chosen = fastest_within(bound, trials);
  PolicyPlan decided = with_precision(plan, chosen.precision);
  decided.notes.push_back(describe_choice(bound, trials, chosen));
  return decided;
}

}  // namespace saccade
