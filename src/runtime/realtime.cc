#include "runtime/realtime.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/check.h"

namespace saccade {
namespace {

constexpr auto kWhere = "infer";

/// Of a row between the delay and the horizon, where `linear` falls from 1 to 0.
double weight_of(Schedule schedule, double linear) {
  switch (schedule) {
    case Schedule::kLinear:
      return linear;
    case Schedule::kExp:
      return linear * std::expm1(linear) / (std::numbers::e - 1);
    case Schedule::kOnes:
      return 1;
    case Schedule::kZeros:
      break;
  }
  return 0;
}

}  // namespace

const char* name_of(Schedule schedule) {
  switch (schedule) {
    case Schedule::kLinear:
      return "linear";
    case Schedule::kExp:
      return "exp";
    case Schedule::kOnes:
      return "ones";
    case Schedule::kZeros:
      break;
  }
  return "zeros";
}

Schedule parse_schedule(std::string_view name) {
  for (const auto schedule :
       {Schedule::kLinear, Schedule::kExp, Schedule::kOnes, Schedule::kZeros}) {
    if (name == name_of(schedule)) return schedule;
  }
  fail("schedule", "'", name, "' is not linear, exp, ones or zeros");
}

void check_realtime(const RealTime& realtime, int chunk, int action_dim) {
  const auto& [previous, rows, delay, horizon, schedule, max_weight] = realtime;
  SACCADE_CHECK(rows >= 0 && rows <= chunk, kWhere, "the previous actions have ", rows,
                " rows, a chunk of the policy has ", chunk);
  SACCADE_CHECK(previous.size() == std::size_t(rows) * std::size_t(action_dim), kWhere,
                "the previous actions have ", previous.size(), " values, ", rows, " rows of ",
                action_dim, " have ", std::size_t(rows) * std::size_t(action_dim));
  for (std::size_t i = 0; i < previous.size(); ++i) {
    SACCADE_CHECK(std::isfinite(previous[i]), kWhere, "previous action ",
                  i / std::size_t(action_dim), " value ", i % std::size_t(action_dim),
                  " is not finite");
  }
  SACCADE_CHECK(delay >= 0 && delay < chunk, kWhere, "the inference delay is ", delay,
                " actions, it must be at least 0 and less than the chunk's ", chunk);
  SACCADE_CHECK(horizon >= 1, kWhere, "the execution horizon is ", horizon,
                " actions, it must be at least 1");
  SACCADE_CHECK(delay <= horizon, kWhere, "the inference delay of ", delay,
                " actions is beyond the execution horizon of ", horizon);
  SACCADE_CHECK(std::isfinite(max_weight) && max_weight > 0, kWhere, "the guidance weight is ",
                max_weight, ", it must be finite and positive");
}

std::vector<double> row_weights(const RealTime& realtime, int rows) {
  const int end = std::min({realtime.execution_horizon, realtime.rows, rows});
  const int begin = std::min(realtime.inference_delay, end);
  std::vector<double> weights(std::size_t(rows), 0.0);
  std::fill_n(weights.begin(), begin, 1.0);
  for (int row = begin; row < end; ++row) {
    const double linear = 1 - double(row - begin + 1) / (end - begin + 1);
    weights[std::size_t(row)] = weight_of(realtime.schedule, linear);
  }
  return weights;
}

double guidance_strength(double time, double max_weight) {
  const double product = time * (1 - time);
  if (product <= 0) return max_weight;
  return std::min(max_weight, (time * time + (1 - time) * (1 - time)) / product);
}

void write_guidance(const models::Pi::Inputs& on_host, std::span<const float> previous,
                    std::span<const double> weights, std::span<const float> times,
                    double max_weight) {
  write_no_guidance(on_host);
  std::copy(previous.begin(), previous.end(), on_host.previous.as<float>());
  auto* guidance = on_host.guidance.as<float>();
  for (float time : times) {
    const double strength = guidance_strength(time, max_weight);
    for (double weight : weights) *guidance++ = float(strength * weight);
  }
}

void write_no_guidance(const models::Pi::Inputs& on_host) {
  for (const Tensor& tensor : {on_host.previous, on_host.guidance}) {
    std::fill_n(tensor.as<float>(), tensor.shape.size(), 0.0f);
  }
}

}  // namespace saccade
