#include "runtime/aloha.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace saccade {
namespace {

constexpr std::array<double, kAlohaJoints> kSigns{1, -1, -1, 1, 1, 1, 1, 1, -1, -1, 1, 1, 1, 1};
constexpr std::array<std::size_t, 2> kGrippers{6, 13};

// Gripper constants of the ALOHA and Interbotix software, as openpi's aloha_policy.py has them.
constexpr double kLinearClosed = 0.01844;  // metres
constexpr double kLinearOpen = 0.05800;
constexpr double kArmLength = 0.036;
constexpr double kHornRadius = 0.022;
constexpr double kAngleMin = 0.5476;  // radians, of the policy's unit interval
constexpr double kAngleMax = 1.6296;
constexpr double kRobotAngleMin = -0.6213;  // radians, of the robot's unit interval
constexpr double kRobotAngleMax = 1.4910;

double gripper_to_angular(double value) {
  const double linear = value * (kLinearOpen - kLinearClosed) + kLinearClosed;
  const double sine = (kHornRadius * kHornRadius + linear * linear - kArmLength * kArmLength) /
                      (2 * kHornRadius * linear);
  const double angle = std::asin(std::clamp(sine, -1.0, 1.0));
  return (angle - kAngleMin) / (kAngleMax - kAngleMin);
}

double gripper_from_angular(double value) {
  return (value + kAngleMin - kRobotAngleMin) / (kRobotAngleMax - kRobotAngleMin);
}

double gripper_to_policy(double value) {
  return value * (kRobotAngleMax - kRobotAngleMin) + kRobotAngleMin - kAngleMin;
}

void flip(std::span<double> joints) {
  for (std::size_t i = 0; i < kSigns.size(); ++i) joints[i] *= kSigns[i];
}

}  // namespace

void aloha_state_to_pi(std::span<double> state) {
  flip(state);
  for (std::size_t i : kGrippers) state[i] = gripper_to_angular(state[i]);
}

void aloha_action_from_pi(std::span<double> action) {
  flip(action);
  for (std::size_t i : kGrippers) action[i] = gripper_from_angular(action[i]);
}

void aloha_action_to_pi(std::span<double> action) {
  for (std::size_t i : kGrippers) action[i] = gripper_to_policy(action[i]);
  flip(action);
}

}  // namespace saccade
