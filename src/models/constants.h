#pragma once

#include <span>

#include "saccade/stream.h"
#include "saccade/tensor.h"

// Tables that are computed on the host and uploaded once.
namespace saccade::models {

/// The shortest and the longest period of the time embedding, in units of flow time.
struct TimePeriods {
  double min = 4e-3;
  double max = 4.0;
};

/// out[s, :] = time_embedding(times[s]); out is [times, width] f32.
void upload_time_embeddings(const Stream&, std::span<const float> times, TimePeriods, Tensor out);

/// out[r, :] = rotary angles of position r; out is [positions, head_dim] f32.
void upload_rope_table(const Stream&, float base, Tensor out);

void upload_constant(const Stream&, float value, Tensor out);  // f32
void upload_unit(const Stream&, Tensor out);      // f32: ones where row and column are equal
void upload_counting(const Stream&, Tensor out);  // i32: 0, 1, 2, ...

}  // namespace saccade::models
