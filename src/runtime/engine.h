#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/arena.h"
#include "io/policy_config.h"
#include "io/weight_source.h"
#include "models/pi.h"
#include "runtime/weight_loader.h"
#include "saccade/policy.h"

namespace saccade {

/// What the engine is built for, beside what the checkpoint says.
struct EngineOptions {
  Precision precision = Precision::kF32;
  int max_views = 3;
  bool prefix_output = false;
  std::vector<float> times;  // empty: flow_times(mode, steps)
  Progress progress;
};

/// A model and the checkpoint it is read from, before any weight is.
struct Blueprint {
  std::unique_ptr<io::WeightSource> source;
  Model model = Model::kPi0;
  models::PiDims dims;
  std::unique_ptr<models::Pi> pi;
  models::WeightList weights;  // of pi
  IsUnused is_unused;
  std::vector<std::string> warnings;
};

/// A model with its weights and buffers, ready to run.
struct Engine {
  Model model = Model::kPi0;
  models::PiDims dims;
  Stream stream;
  std::unique_ptr<models::Pi> pi;
  LoadedWeights weights;
  Arena activations;
  int max_prompt_tokens = 0;
  std::vector<std::string> warnings;
};

/// Times of the denoising steps, from 1 towards 0: LeRobot computes 1 - s / N in f64, openpi
/// counts down in f32.
std::vector<float> flow_times(Mode, int steps);

/// Prompt tokens that the model takes at most: the configuration's, else the reference's.
int max_prompt_tokens(const io::PolicyConfig&, Model);

PolicyInfo describe(const io::CheckpointFiles&, const io::PolicyConfig&, const Engine&, Precision);

/// Reads the headers of the weights and decides the model and its dims. Fails when they are
/// another model's than the configuration says.
Blueprint make_blueprint(const io::CheckpointFiles&, const io::PolicyConfig&,
                         const EngineOptions& = {});

/// Packs the weights of a blueprint.
LoadedWeights load_weights(const Blueprint&, const io::CheckpointFiles&, const EngineOptions&);

/// Loads the weights of a blueprint, allocates its buffers and makes its tables.
Engine make_engine(Blueprint, const io::CheckpointFiles&, const io::PolicyConfig&,
                   const EngineOptions&);

}  // namespace saccade
