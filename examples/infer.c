/* Loads a checkpoint, asks it for one chunk of actions and prints them: infer.cc, in C.
 *
 *   cc infer.c -lsaccade
 *   infer CHECKPOINT [STATE...]
 *
 * The picture is a grey one: a robot would point saccade_frame at what its camera wrote. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "saccade.h"

static int failed(const char* what) {
  fprintf(stderr, "%s: %s\n", what, saccade_error_message());
  return 1;
}

static int infer_and_print(saccade_policy* policy, const saccade_info* info, const double* state,
                           size_t state_count, float* actions) {
  static unsigned char grey[480 * 640 * 3];
  memset(grey, 128, sizeof(grey));
  const saccade_frame frame = {.pixels = grey, .height = 480, .width = 640};
  const int32_t tokens[] = {2, 17, 5}; /* or .prompt, which needs a tokenizer */
  const saccade_observation observation = {
      .size = sizeof(observation),
      .frames = &frame,
      .frame_count = 1,
      .state = state,
      .state_count = state_count,
      .tokens = tokens,
      .token_count = 3,
  };
  saccade_chunk chunk = {
      .size = sizeof(chunk),
      .values = actions,
      .value_capacity = (size_t)(info->chunk * info->action_dim),
  };
  if (saccade_infer(policy, &observation, &chunk) != SACCADE_OK) return failed("infer");

  for (int row = 0; row < chunk.actions; ++row) {
    for (int i = 0; i < chunk.action_dim; ++i) {
      printf("%9.4f", chunk.values[row * chunk.action_dim + i]);
    }
    printf("\n");
  }
  return 0;
}

int main(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: infer CHECKPOINT [STATE...]\n");
    return 2;
  }
  saccade_policy* policy = NULL;
  if (saccade_load(argv[1], NULL, 0, &policy) != SACCADE_OK) return failed("load");
  saccade_info info = {.size = sizeof(info)};
  if (saccade_get_info(policy, &info) != SACCADE_OK) return failed("info");

  size_t state_count = (size_t)(argc - 2);
  if (info.state_dim > 0) state_count = (size_t)info.state_dim;
  double* state = calloc(state_count + 1, sizeof(double));
  float* actions = calloc((size_t)(info.chunk * info.action_dim), sizeof(float));
  for (int i = 2; i < argc && (size_t)(i - 2) < state_count; ++i) state[i - 2] = atof(argv[i]);
  const int status = infer_and_print(policy, &info, state, state_count, actions);
  free(actions);
  free(state);
  saccade_free(policy);
  return status;
}
