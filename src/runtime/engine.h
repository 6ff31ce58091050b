#pragma once

#include <functional>
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

/// On a GPU, prefix rows come in multiples of so many: fewer shapes to record, and tiles would be
/// padded anyway.
inline constexpr int kPrefixRowStep = 64;

/// What the engine is built for, beside what the checkpoint says.
struct EngineOptions {
  std::shared_ptr<const Stream> stream = std::make_shared<const Stream>();
  Precisions precision;
  int max_views = 3;
  bool prefix_output = false;
  bool random_outliers = false;  // in random weights (runtime/outliers.h)
  std::vector<float> times;      // empty: flow_times(mode, steps)
  Progress progress;
};

/// The device that the options ask for; without a wish, the GPU if one is there.
Device chosen_device(std::optional<Device> wanted);

/// A stream of that device.
std::shared_ptr<const Stream> open_stream(std::optional<Device> wanted);

/// Whether precisions with fp8 run: on the CPU, and on a GPU from compute capability 9.0 on, with
/// whichever kernels.
bool has_fp8(const Stream&);

/// The precision that the options ask for, else what the device is best at. Fails when the device
/// does not have it, and when it is to be found by trying (runtime/auto_precision.h).
Precisions precision_on(const Stream&, const LoadOptions&);

/// A model before any weight is read.
struct Blueprint {
  Model model = Model::kPi0;
  models::PiDims dims;
  std::unique_ptr<models::Pi> pi;
  models::WeightList weights;  // of pi
  std::vector<std::string> warnings;

  // The checkpoint; absent when the weights are to be random.
  std::unique_ptr<io::WeightSource> source;
  std::string source_name;
  IsUnused is_unused;
};

/// A model with its weights and buffers, ready to run.
struct Engine {
  Model model = Model::kPi0;
  models::PiDims dims;
  std::shared_ptr<const Stream> stream_owner;
  Stream stream;
  std::unique_ptr<models::Pi> pi;
  models::Pi::Inputs host_inputs;  // what pi->inputs() are filled from; the same on the CPU
  Arena weights;
  Arena buffers;      // everything else that the device works on
  Arena inputs;       // pi->inputs(), contiguous
  Arena host_memory;  // host_inputs, where that is other memory
  std::uint64_t parameters = 0;
  int max_prompt_tokens = 0;
  std::vector<std::string> warnings;
};

/// Times of the denoising steps, from 1 towards 0: LeRobot computes 1 - s / N in f64, openpi
/// counts down in f32.
std::vector<float> flow_times(Mode, int steps);

/// Prompt tokens that the model takes at most: the configuration's, else the reference's.
int max_prompt_tokens(const io::PolicyConfig&, Model);

PolicyInfo describe(const io::CheckpointFiles&, const io::PolicyConfig&, const Engine&,
                    const Precisions&);

/// Reads the headers of the weights and decides the model and its dims. Fails when they are
/// another model's than the configuration says.
Blueprint make_blueprint(const io::CheckpointFiles&, const io::PolicyConfig&,
                         const EngineOptions& = {});

/// A model of published dims whose weights are to be random.
Blueprint make_synthetic_blueprint(Model, const io::PolicyConfig&, const EngineOptions&);

/// The types that weights are packed into.
WeightTypes weight_types(const EngineOptions&);

/// Asks for the memory, loads the weights of a blueprint and makes its tables.
Engine make_engine(Blueprint, const io::PolicyConfig&, const EngineOptions&);

}  // namespace saccade
