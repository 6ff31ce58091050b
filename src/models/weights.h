#pragma once

#include <string>
#include <vector>

#include "saccade/ops/quantize.h"
#include "saccade/tensor.h"

namespace saccade::models {

/// How a weight is stored once it is loaded.
enum class WeightType : std::uint8_t {
  kMatrix,   // in the policy's precision: bf16, or as the checkpoint stores it
  kScaled,   // e4m3 with a scale for each row
  kStored,   // f32 or bf16 as the checkpoint stores it, in every precision
  kPrecise,  // f16 where a policy in bf16 runs what the references keep in f32 (on a GPU), else as
             // kStored
  kVector,   // f32
};

/// How long a weight is needed.
enum class Lifetime : std::uint8_t {
  kPolicy,
  kLoad,  // only until the tables are made of it
};

/// One tensor of the checkpoint, or a range of its columns.
struct WeightPiece {
  std::string name;  // canonical (io/weight_source.h)
  Shape shape;       // of the whole tensor
  int first_column = 0;
  int columns = 0;  // 0: all
};

/// A buffer that is filled from one or more tensors, stacked along the outermost axis.
struct WeightSlot {
  Tensor* target = nullptr;
  Tensor* scales = nullptr;  // of kScaled, [1, rows]
  WeightType type = WeightType::kMatrix;
  Lifetime lifetime = Lifetime::kPolicy;
  float added = 0;  // to every element, in f32: 1 for Gemma's (1 + w)
  std::vector<WeightPiece> pieces;

  /// Of the target: the pieces stacked.
  Shape shape() const;
};

/// The tensors that a model needs. Loading, checking and printing share this one list.
struct WeightList {
  std::vector<WeightSlot> slots;

  void matrix(Tensor& target, std::vector<WeightPiece> pieces) {
    add(target, WeightType::kMatrix, std::move(pieces));
  }
  void scaled(ops::ScaledMatrix& target, std::vector<WeightPiece> pieces) {
    add(target.values, WeightType::kScaled, std::move(pieces)).scales = &target.scales;
  }
  void stored(Tensor& target, std::vector<WeightPiece> pieces,
              Lifetime lifetime = Lifetime::kPolicy) {
    add(target, WeightType::kStored, std::move(pieces)).lifetime = lifetime;
  }
  void precise(Tensor& target, std::vector<WeightPiece> pieces) {
    add(target, WeightType::kPrecise, std::move(pieces));
  }
  void vector(Tensor& target, std::vector<WeightPiece> pieces, float added = 0) {
    add(target, WeightType::kVector, std::move(pieces)).added = added;
  }

 private:
  WeightSlot& add(Tensor& target, WeightType type, std::vector<WeightPiece> pieces) {
    return slots.emplace_back(
        WeightSlot{.target = &target, .type = type, .pieces = std::move(pieces)});
  }
};

}  // namespace saccade::models
