#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/arena.h"
#include "models/dims.h"
#include "models/gemma.h"
#include "models/weights.h"
#include "saccade/stream.h"

namespace saccade::models {

/// The shortest and the longest period of the time embedding, in units of flow time.
struct TimePeriods {
  double min = 4e-3;
  double max = 4.0;
};

/// What stands between the noisy actions and the action expert. Pi0 and Pi0.5 differ only here:
/// in the rows that the expert sees, and in how the time of a step reaches it.
class Suffix {
 public:
  virtual ~Suffix() = default;

  virtual void declare(WeightList&) = 0;

  /// Takes the buffers for `actions` rows and `steps` tables.
  virtual void allocate(Arena&, int actions, int steps) = 0;

  /// Makes everything that depends only on the times and the weights.
  virtual void prepare(const Stream&, std::span<const float> times, TimePeriods) = 0;

  /// Rows in front of the actions, which see the prefix and themselves but no action.
  virtual int leading_rows() const = 0;

  /// What depends on the robot's state, once per inference. state: [1, max_state_dim] f32.
  virtual void embed_state(const Stream&, Tensor state, Tensor out) const = 0;

  /// The expert's input at a step.
  ///
  ///   x    [actions, max_action_dim]           f32, noisy actions
  ///   out  [leading_rows + actions, width]     f32
  virtual void embed(const Stream&, int step, Tensor x, Tensor out) const = 0;

  /// The expert's modulations at a step, [2 layers + 1, 3 width] f32; absent for plain norms.
  virtual Tensor modulations(int step) const = 0;

  /// adaRMS's conditioning at a step, [1, width] f32; absent for plain norms.
  virtual Tensor condition(int step) const = 0;
};

std::unique_ptr<Suffix> make_pi0_suffix(const PiDims&);
std::unique_ptr<Suffix> make_pi05_suffix(const PiDims&, const Gemma& expert);

}  // namespace saccade::models
