#pragma once

#include <span>

namespace saccade {

/// openpi's adapt_to_pi for the 14 joints of an ALOHA robot, in place: flips the joints whose sign
/// differs and maps the two grippers from the robot's linear to the policy's angular units.
void aloha_state_to_pi(std::span<double> state);

/// Its counterpart for one action row: the same flips, grippers from the policy's to the robot's
/// units; and the inverse.
void aloha_action_from_pi(std::span<double> action);
void aloha_action_to_pi(std::span<double> action);

inline constexpr int kAlohaJoints = 14;

}  // namespace saccade
