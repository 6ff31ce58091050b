#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/arena.h"
#include "io/weight_source.h"
#include "models/dims.h"
#include "models/weights.h"
#include "saccade/policy.h"

namespace saccade {

/// The weights of a policy, packed as the ops read them.
struct LoadedWeights {
  Arena policy;
  Arena load_only;  // freed once the tables are made
  std::uint64_t parameters = 0;
};

/// How a checkpoint's tensors compare with what a model needs, by the checkpoint's own names.
struct WeightReport {
  std::vector<std::string> missing;     // "a.b.weight [2048, 1024]"
  std::vector<std::string> misshaped;   // "a.b.weight is [3], must be [4]"
  std::vector<std::string> unexpected;  // tensors that the model does not know
  std::vector<std::string> unused;      // tensors that never reach the actions

  bool fits() const { return missing.empty() && misshaped.empty() && unexpected.empty(); }
};

using IsUnused = std::function<bool(const std::string& canonical_name)>;

models::TensorShapes shapes_of(const io::WeightSource&);

WeightReport compare_weights(const io::WeightSource&, const models::WeightList&, const IsUnused&);

/// Packs every slot. Fails with the whole report when the tensors do not fit, and by name when a
/// weight is not finite. `source` and `model` name the checkpoint and the model in messages.
LoadedWeights load_weights(io::WeightSource&, const models::WeightList&, const IsUnused&, Precision,
                           const std::string& source, const std::string& model, const Progress&);

}  // namespace saccade
