#include "ops/gemm/gemm.h"

#include "core/check.h"
#include "ops/dispatch.h"
#include "ops/norm/operands.h"
#include "ops/quantize/operands.h"
#include "ops/trace.h"

namespace saccade::ops {
namespace {

constexpr auto kOp = "gemm";

/// As it follows a shape.
const char* name_of(Activation activation) {
  switch (activation) {
    case Activation::kGelu:
      return " gelu";
    case Activation::kSilu:
      return " silu";
    case Activation::kGeglu:
      return " geglu";
    case Activation::kNone:
      break;
  }
  return "";
}

void check_vector(const char* name, const Tensor& vector, int size) {
  if (!vector) return;
  detail::check_shape(kOp, {name, vector}, {size});
  detail::check_type(kOp, {name, vector}, DType::kF32);
}

void check_norm(const Stream& stream, const RowNorm& norm, int m) {
  if (!norm.squares) return;
  detail::check_given(kOp, stream, {{"norm.squares", norm.squares}});
  detail::check_type(kOp, {"norm.squares", norm.squares}, DType::kF32);
  SACCADE_CHECK(norm.squares.shape.rank() == 2 && norm.squares.shape[0] == m, kOp,
                "norm.squares must be [", m, ", parts], got ", norm.squares.shape.str());
}

void check_guidance(const Stream& stream, const GemmEpilogue& epilogue, const Tensor& out) {
  const auto& [target, weights, time] = epilogue.guidance;
  if (!epilogue.guidance) return;
  detail::check_given(kOp, stream, {{"guidance.target", target}, {"guidance.weights", weights}});
  SACCADE_CHECK(bool(epilogue.residual), kOp, "guidance needs a residual");
  detail::check_shape(kOp, {"guidance.target", target}, out.shape);
  detail::check_type(kOp, {"guidance.target", target}, DType::kF32);
  detail::check_apart(kOp, {"out", out}, {"guidance.target", target});
  check_vector("guidance.weights", weights, out.shape[0]);
}

void check_epilogue(const Stream& stream, const GemmEpilogue& epilogue, int weight_rows,
                    const Tensor& out) {
  const auto& [norm, bias, activation, gate, residual, next, quantized, guidance] = epilogue;
  detail::check_optional(kOp, stream, {{"bias", bias}, {"gate", gate}, {"residual", residual}});
  check_norm(stream, norm, out.shape[0]);
  check_vector("bias", bias, weight_rows);
  check_vector("gate", gate, out.shape[1]);
  if (residual) {
    detail::check_shape(kOp, {"residual", residual}, out.shape);
    detail::check_type(kOp, {"residual", residual}, out.dtype);
    detail::check_same_or_apart(kOp, {"residual", residual}, {"out", out});
  }
  detail::check_norm_outputs(kOp, stream, next, out);
  detail::check_quantized(kOp, stream, quantized, out);
  check_guidance(stream, epilogue, out);
}

}  // namespace

namespace detail {

GemmParams gemm_params(const Stream& stream, const ScaledMatrix& scaled_x,
                       const ScaledMatrix& scaled_weight, const GemmEpilogue& epilogue,
                       const Tensor& out) {
  const Tensor& x = scaled_x.values;
  const Tensor& weight = scaled_weight.values;
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
  check_scaled(kOp, stream, {"x", x}, scaled_x.scales);
  check_scaled(kOp, stream, {"weight", weight}, scaled_weight.scales);
  SACCADE_CHECK(!scaled_weight.scales || scaled_weight.scales.shape[0] == 1, kOp,
                "weight.scales must be [1, ", weight.shape[0], "], got ",
                scaled_weight.scales.shape.str());
  check_floating(kOp, {"out", out});
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
          .out_type = out.dtype,
          .norm_squares = epilogue.norm.squares.as<float>(),
          .norm_parts = epilogue.norm.squares ? epilogue.norm.squares.shape[1] : 0,
          .norm_eps = epilogue.norm.eps,
          .scale = epilogue.next.scale.as<float>(),
          .scaled = epilogue.next.scaled.data,
          .scaled_type = epilogue.next.scaled.dtype,
          .squares = epilogue.next.squares.as<float>(),
          .squares_parts = epilogue.next.squares ? epilogue.next.squares.shape[1] : 0,
          .x_scales = scaled_x.scales.as<float>(),
          .x_blocks = scaled_x.scales ? scaled_x.scales.shape[0] : 0,
          .weight_scales = scaled_weight.scales.as<float>(),
          .quantized = epilogue.quantized.values.data,
          .quantized_scales = epilogue.quantized.scales.as<float>(),
          .quantized_blocks = epilogue.quantized ? epilogue.quantized.scales.shape[0] : 0,
          .guidance_target = epilogue.guidance.target.as<float>(),
          .guidance_weights = epilogue.guidance.weights.as<float>(),
          .guidance_time = epilogue.guidance.time};
}

OpRecord describe_gemm(const char* op, const GemmParams& p) {
  const bool geglu = p.activation == Activation::kGeglu;
  const int columns = (geglu ? 2 : 1) * p.n;
  const double weights = double(columns) * p.k;
  return {.op = op,
          .shape = std::to_string(p.m) + " x " + std::to_string(p.k) + " x " +
                   std::to_string(columns) + name_of(p.activation),
          .flops = 2 * weights * p.m,
          .bytes = weights * double(size_of(p.weight_type)),
          .is_e4m3 = p.x_type == DType::kE4m3 && p.weight_type == DType::kE4m3};
}

void gemm_cuda(const GemmParams& p, const Stream& stream) {
  if (gemm_thin_takes(p)) return gemm_thin(p, stream.handle);
  if (stream.arch >= 90 && gemm_skinny_takes(p)) return gemm_skinny(p, stream.handle);
  if (stream.arch >= 90 && gemm_sm90_takes(p)) return gemm_sm90(p, stream.handle);
  gemm_mma_takes(p) ? gemm_mma(p, stream.handle) : gemm_simple(p, stream.handle);
  if (p.quantized) quantize_cuda(quantize_params(p), stream.handle);
}

QuantizeParams quantize_params(const GemmParams& p) {
  return {.x = p.out,
          .values = p.quantized,
          .scales = p.quantized_scales,
          .rows = p.m,
          .columns = p.n,
          .blocks = p.quantized_blocks,
          .x_type = p.out_type};
}

}  // namespace detail

void gemm(const Stream& stream, const ScaledMatrix& x, const ScaledMatrix& weight,
          const GemmEpilogue& epilogue, Tensor out) {
  const auto params = detail::gemm_params(stream, x, weight, epilogue, out);
  if (!detail::may_run(stream, [&] { return detail::describe_gemm(kOp, params); })) return;
  stream.device == Device::kCpu ? detail::gemm_blas(params) : detail::gemm_cuda(params, stream);
}

}  // namespace saccade::ops
