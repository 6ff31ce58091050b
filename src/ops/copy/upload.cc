#include <cstring>

#include "cuda/device.h"
#include "ops/dispatch.h"
#include "saccade/ops/copy.h"

namespace saccade::ops {

void upload(const Stream& stream, Tensor from, Tensor to) {
  constexpr auto kOp = "upload";
  detail::check_given(kOp, Stream{}, {{"from", from}});
  detail::check_given(kOp, stream, {{"to", to}});
  detail::check_shape(kOp, {"to", to}, from.shape);
  detail::check_type(kOp, {"to", to}, from.dtype);
  if (stream.device == Device::kCuda) return cuda::upload(stream, from.data, to.data, to.bytes());
  std::memcpy(to.data, from.data, to.bytes());
}

}  // namespace saccade::ops
