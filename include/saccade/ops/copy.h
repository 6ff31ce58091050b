#pragma once

#include "saccade/stream.h"
#include "saccade/tensor.h"

namespace saccade::ops {

/// to = from, where `from` is on the CPU and `to` where the stream runs
///
///   from, to  any shape, both of one size and type
///
/// Has finished when it returns. At load only.
void upload(const Stream&, Tensor from, Tensor to);

}  // namespace saccade::ops
