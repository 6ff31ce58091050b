// Loads a checkpoint, asks it for one chunk of actions and prints them.
//
//   infer CHECKPOINT [STATE...]
//
// The picture is a grey one: a robot would point Frame at what its camera wrote.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <vector>

#include "saccade/policy.h"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: infer CHECKPOINT [STATE...]\n");
    return 2;
  }
  try {
    saccade::Policy policy = saccade::Policy::load(argv[1]);
    const saccade::PolicyInfo& info = policy.info();

    const std::vector<std::uint8_t> grey(480 * 640 * 3, 128);
    saccade::Observation observation;
    observation.frames[info.cameras.front()] = {grey.data(), 480, 640};
    for (int i = 2; i < argc; ++i) observation.state.push_back(std::atof(argv[i]));
    if (info.state_dim > 0) observation.state.resize(static_cast<std::size_t>(info.state_dim));
    observation.tokens = {2, 17, 5};  // or observation.prompt, which needs a tokenizer
    const saccade::ActionChunk chunk = policy.infer(observation);

    for (int row = 0; row < chunk.actions; ++row) {
      for (int i = 0; i < chunk.action_dim; ++i) {
        std::printf("%9.4f", chunk.values[static_cast<std::size_t>(row * chunk.action_dim + i)]);
      }
      std::printf("\n");
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
