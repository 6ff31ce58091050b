#include "ops/quantize/quantize.h"

#include "core/check.h"
#include "ops/quantize/operands.h"
#include "ops/trace.h"

namespace saccade::ops {

void quantize(const Stream& stream, Tensor x, const ScaledMatrix& out) {
  constexpr auto kOp = "quantize";
  detail::check_given(kOp, stream, {{"x", x}});
  SACCADE_CHECK(x.shape.rank() == 2 && x.shape[1] > 0, kOp, "x must be [rows, columns], got ",
                x.shape.str());
  detail::check_floating(kOp, {"x", x});
  detail::check_e4m3(kOp, stream, "out", out, {"x", x});
  const detail::QuantizeParams params{.x = x.data,
                                      .values = out.values.data,
                                      .scales = out.scales.as<float>(),
                                      .rows = x.shape[0],
                                      .columns = x.shape[1],
                                      .blocks = out.scales.shape[0],
                                      .x_type = x.dtype};
  if (!detail::may_run(stream, kOp, x)) return;
  stream.device == Device::kCpu ? detail::quantize_cpu(params)
                                : detail::quantize_cuda(params, stream.handle);
}

}  // namespace saccade::ops
