#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/arena.h"
#include "io/weight_source.h"
#include "models/dims.h"
#include "models/weights.h"
#include "saccade/policy.h"
#include "saccade/stream.h"

namespace saccade {

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

/// The types that weights are packed into.
struct WeightTypes {
  std::optional<DType> matrix;   // absent: as the checkpoint stores it
  std::optional<DType> precise;  // the same
};

/// Sets every slot's target, and its scales, to a tensor of its packed shape and type. Without a
/// checkpoint, weights count as stored in f32.
void place_weights(const io::WeightSource* checkpoint, const models::WeightList&,
                   const WeightTypes&, Arena& policy, Arena& load_only);

/// Fails with the whole report when the tensors do not fit. `source` and `model` name the
/// checkpoint and the model.
void require_weights(const io::WeightSource&, const models::WeightList&, const IsUnused&,
                     const std::string& source, const std::string& model);

/// Packs every slot into its target. Fails by name when a weight is not finite. Returns the number
/// of parameters.
std::uint64_t read_weights(io::WeightSource&, const models::WeightList&, const Stream&,
                           const std::string& source, const Progress&);

}  // namespace saccade
