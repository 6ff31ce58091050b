/* A client of the C interface that a C compiler compiles, for tests that a C++ compiler does. */
#ifndef CAPI_CLIENT_H_
#define CAPI_CLIENT_H_

#include "saccade.h"
#include "saccade_ops.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Loads a checkpoint on the CPU with a tokenizer. */
saccade_status client_load(const char* checkpoint, const char* tokenizer, saccade_policy** policy);

/* Everything that one inference is asked with and answers. */
typedef struct client_inference {
  saccade_frame frames[2];
  double state[14];
  saccade_observation observation;
  int32_t tokens[256];
  saccade_stage_time times[SACCADE_MAX_STAGES];
  char warnings[256];
  saccade_chunk chunk;
} client_inference;

/* Frames of both cameras, a state, a prompt and a seed; values hold `value_capacity` floats. */
void client_prepare(client_inference* inference, const uint8_t* front, const uint8_t* wrist,
                    float* values, size_t value_capacity);

/* Floats as a matrix in host memory. */
saccade_tensor client_matrix(float* values, int64_t rows, int64_t columns);

/* activation(x weight^T + bias), through the C interface; bias may be NULL. */
saccade_status client_linear(const saccade_tensor* x, const saccade_tensor* weight,
                             const saccade_tensor* bias, const saccade_tensor* out);

#ifdef __cplusplus
}
#endif

#endif /* CAPI_CLIENT_H_ */
