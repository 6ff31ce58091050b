#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/arena.h"
#include "models/constants.h"
#include "models/dims.h"
#include "models/gemma.h"
#include "models/weights.h"
#include "saccade/stream.h"

namespace saccade::models {

/// What stands between the noisy actions and the action expert. Pi0 and Pi0.5 differ only here:
/// in the rows that the expert sees, and in how the time of a step reaches it.
class Suffix {
 public:
  virtual ~Suffix() = default;

  virtual void declare(WeightList&) = 0;

  /// Takes the buffers for `actions` rows and `steps` tables.
  virtual void allocate(Arena&, int actions, int steps, DType precise) = 0;

  /// Makes everything that depends only on the times and the weights.
  virtual void prepare(const Stream&, std::span<const float> times, TimePeriods) = 0;

  /// Rows in front of the actions, which see the prefix and themselves but no action.
  virtual int leading_rows() const = 0;

  /// The leading rows. state: [1, max_state_dim] f32.
  virtual void embed_state(const Stream&, Tensor state, const Gemma::Input& out) const = 0;

  /// The action rows at a step. x: [actions, max_action_dim] f32, noisy actions.
  virtual void embed(const Stream&, int step, Tensor x, const Gemma::Input& out) const = 0;

  /// What the expert's norms do at each step; absent for plain norms.
  virtual NormTables norm_tables() const = 0;

  /// adaRMS's conditioning at a step, [1, width] f32; absent for plain norms.
  virtual Tensor condition(int step) const = 0;
};

std::unique_ptr<Suffix> make_pi0_suffix(const PiDims&);
std::unique_ptr<Suffix> make_pi05_suffix(const PiDims&, const Gemma& expert);

}  // namespace saccade::models
