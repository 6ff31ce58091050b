#include "ops/gemm/gemm.h"

#include "core/check.h"
#include "ops/dispatch.h"

namespace saccade::ops {
namespace {

constexpr auto kOp = "gemm";

void check_epilogue(const Stream& stream, const GemmEpilogue& epilogue, int weight_rows,
                    const Tensor& out) {
  const auto& [bias, activation, gate, residual] = epilogue;
  detail::check_optional(kOp, stream, {{"bias", bias}, {"gate", gate}, {"residual", residual}});
  if (bias) {
    detail::check_shape(kOp, {"bias", bias}, {weight_rows});
    detail::check_type(kOp, {"bias", bias}, DType::kF32);
  }
  if (gate) {
    detail::check_shape(kOp, {"gate", gate}, {out.shape[1]});
    detail::check_type(kOp, {"gate", gate}, DType::kF32);
  }
  if (residual) {
    detail::check_shape(kOp, {"residual", residual}, out.shape);
    detail::check_type(kOp, {"residual", residual}, out.dtype);
    detail::check_same_or_apart(kOp, {"residual", residual}, {"out", out});
  }
}

}  // namespace

namespace detail {

GemmParams gemm_params(const Stream& stream, const Tensor& x, const Tensor& weight,
                       const GemmEpilogue& epilogue, const Tensor& out) {
  check_given(kOp, stream, {{"x", x}, {"weight", weight}, {"out", out}});
  SACCADE_CHECK(x.shape.rank() == 2 && x.shape[1] > 0, kOp, "x must be [m, k], got ",
                x.shape.str());
  SACCADE_CHECK(out.shape.rank() == 2, kOp, "out must be [m, n], got ", out.shape.str());
  const int m = x.shape[0];
  const int k = x.shape[1];
  const int n = out.shape[1];
  const bool geglu = epilogue.activation == Activation::kGeglu;
  SACCADE_CHECK(weight.shape.rank() == 2 && weight.shape[1] == k &&
                    weight.shape[0] == std::int64_t(geglu ? 2 : 1) * n,
                kOp, "weight must be [", (geglu ? 2 : 1) * std::int64_t(n), ", ", k, "], got ",
                weight.shape.str());
  check_shape(kOp, {"out", out}, {m, n});
  check_f32_or_bf16(kOp, {"x", x});
  check_f32_or_bf16(kOp, {"weight", weight});
  check_f32_or_bf16(kOp, {"out", out});
  check_apart(kOp, {"out", out}, {"x", x});
  check_epilogue(stream, epilogue, weight.shape[0], out);
  return {.x = x.data,
          .weight = weight.data,
          .bias = epilogue.bias.as<float>(),
          .gate = epilogue.gate.as<float>(),
          .residual = epilogue.residual.data,
          .out = out.data,
          .m = m,
          .n = n,
          .k = k,
          .activation = epilogue.activation,
          .x_type = x.dtype,
          .weight_type = weight.dtype,
          .residual_type = out.dtype,
          .out_type = out.dtype};
}

}  // namespace detail

void gemm(const Stream& stream, Tensor x, Tensor weight, const GemmEpilogue& epilogue, Tensor out) {
  const auto params = detail::gemm_params(stream, x, weight, epilogue, out);
  detail::check_has_kernel(kOp, stream);
  detail::gemm_blas(params);
}

}  // namespace saccade::ops
