#include "core/check.h"
#include "ops/dispatch.h"
#include "ops/gemm/gemm.h"
#include "ops/trace.h"

namespace saccade::ops {

void project_qkv(const Stream& stream, const ScaledMatrix& x, const ScaledMatrix& weight,
                 const RowNorm& norm, Tensor bias, Tensor positions, Tensor table, Tensor qkv,
                 Tensor q, Tensor k, Tensor v) {
  constexpr auto kOp = "project_qkv";
  const detail::RopeParams rope = detail::rope_params(kOp, stream, qkv, positions, table, q, k, v);
  const detail::GemmParams gemm =
      detail::gemm_params(stream, x, weight, {.norm = norm, .bias = bias}, qkv);
  if (!detail::may_run(stream, [&] { return detail::describe_gemm(kOp, gemm); })) return;
  if (stream.device == Device::kCpu) {
    detail::gemm_blas(gemm);
    return detail::rope_cpu(rope);
  }
  const detail::QkvParams both{gemm, rope};
  if (stream.arch >= 90 && detail::project_qkv_skinny_takes(both)) {
    return detail::project_qkv_skinny(both, stream.handle);
  }
  if (stream.arch >= 90 && detail::project_qkv_sm90_takes(both)) {
    return detail::project_qkv_sm90(both, stream.handle);
  }
  detail::gemm_cuda(gemm, stream);
  detail::rope_cuda(rope, stream.handle);
}

}  // namespace saccade::ops
