#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/weight_source.h"
#include "runtime/synth.h"

namespace saccade {

/// A tensor of a random checkpoint: its canonical name, how it is stored and distributed.
struct SynthTensor {
  io::WeightInfo info;
  float mean = 0;
  float std = 0;
};

/// Every tensor of openpi's public files except the unused head of the action expert. The token
/// embedding is stored as the language model's head, as in those files.
std::vector<SynthTensor> synth_tensors(Model, SynthSize);

/// Actions in a chunk, and pixels at a side of the model's input.
int synth_chunk(SynthSize);
int synth_image_size(SynthSize);

}  // namespace saccade
