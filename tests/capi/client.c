#include "client.h"

#include <string.h>

saccade_status client_load(const char* checkpoint, const char* tokenizer, saccade_policy** policy) {
  const saccade_option options[] = {{"device", "cpu"}, {"tokenizer", tokenizer}};
  return saccade_load(checkpoint, options, sizeof(options) / sizeof(options[0]), policy);
}

void client_prepare(client_inference* inference, const uint8_t* front, const uint8_t* wrist,
                    float* values, size_t value_capacity) {
  memset(inference, 0, sizeof(*inference));
  inference->frames[0] =
      (saccade_frame){.camera = "front", .pixels = front, .height = 48, .width = 64};
  inference->frames[1] =
      (saccade_frame){.camera_index = 1, .pixels = wrist, .height = 64, .width = 48};
  for (int i = 0; i < 14; ++i) inference->state[i] = 0.1 * i - 0.3;
  inference->observation = (saccade_observation){
      .size = sizeof(saccade_observation),
      .frames = inference->frames,
      .frame_count = 2,
      .state = inference->state,
      .state_count = 14,
      .prompt = "pick up the red cube",
      .seed = 7,
  };
  inference->chunk = (saccade_chunk){
      .size = sizeof(saccade_chunk),
      .values = values,
      .value_capacity = value_capacity,
      .tokens = inference->tokens,
      .token_capacity = 256,
      .times = inference->times,
      .time_capacity = SACCADE_MAX_STAGES,
      .warnings = inference->warnings,
      .warning_capacity = sizeof(inference->warnings),
  };
}

saccade_tensor client_matrix(float* values, int64_t rows, int64_t columns) {
  return (saccade_tensor){
      .data = values, .dtype = SACCADE_F32, .rank = 2, .shape = {rows, columns}};
}

saccade_status client_linear(const saccade_tensor* x, const saccade_tensor* weight,
                             const saccade_tensor* bias, const saccade_tensor* out) {
  return saccade_ops_linear(x, NULL, weight, NULL, bias, SACCADE_ACTIVATION_GELU, out, NULL);
}
