#pragma once

#include <string>
#include <vector>

#include "runtime/loaded_policy.h"
#include "saccade/policy.h"

namespace saccade {

/// A precision that was tried on a checkpoint.
struct PrecisionTrial {
  Precisions precision;
  double error = 0;  // of the normalised actions, relative (Euclidean): the largest of several
                     // observations'
  double ms = 0;     // the shortest inference
};

/// The precisions that a device's `auto` chooses from. The first is the most exact one.
std::vector<Precisions> precisions_to_try(const Stream&);

/// Loads a policy in each of these precisions, one after the other, and runs it on seeded
/// observations: random frames and tokens, a state in the middle of its range. Errors are against
/// the first of them.
std::vector<PrecisionTrial> try_precisions(const PolicyPlan&, const std::vector<Precisions>&);

/// The fastest whose error is at most `bound`, as the first trial's is; one that is not 5 % faster
/// than a more exact one, which stands in front of it, does not count as such.
const PrecisionTrial& fastest_within(double bound, const std::vector<PrecisionTrial>&);

/// What was chosen of which trials, in one sentence.
std::string describe_choice(double bound, const std::vector<PrecisionTrial>&,
                            const PrecisionTrial& chosen);

/// Decides the precision of a plan that leaves it open, by trying; other plans stay as they are.
PolicyPlan decide_precision(PolicyPlan);

}  // namespace saccade
