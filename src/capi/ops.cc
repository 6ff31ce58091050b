// Every function takes its operands and calls the op of saccade/ops that has its name.

#include <cmath>
#include <iterator>

#include "capi/operands.h"
#include "capi/status.h"
#include "core/check.h"
#include "saccade/ops/attention.h"
#include "saccade/ops/gemm.h"
#include "saccade/ops/image.h"
#include "saccade/ops/norm.h"
#include "saccade/ops/quantize.h"
#include "saccade/ops/rope.h"

namespace saccade::capi {
namespace {

ops::Activation activation_of(const char* op, std::int32_t activation) {
  constexpr ops::Activation kActivations[] = {ops::Activation::kNone, ops::Activation::kGelu,
                                              ops::Activation::kSilu, ops::Activation::kGeglu};
  SACCADE_CHECK(activation >= 0 && std::size_t(activation) < std::size(kActivations), op,
                "activation is ", activation, ", it must be from 0 to ",
                std::size(kActivations) - 1);
  return kActivations[activation];
}

ops::ResizeFilter filter_of(const char* op, std::int32_t filter) {
  SACCADE_CHECK(filter == SACCADE_FILTER_ANTIALIAS || filter == SACCADE_FILTER_BILINEAR, op,
                "filter is ", filter,
                ", it must be SACCADE_FILTER_ANTIALIAS or SACCADE_FILTER_BILINEAR");
  return filter == SACCADE_FILTER_ANTIALIAS ? ops::ResizeFilter::kAntialias
                                            : ops::ResizeFilter::kBilinear;
}

float eps_of(const char* op, float eps) {
  SACCADE_CHECK(std::isfinite(eps) && eps >= 0, op, "eps must be finite and not negative, it is ",
                eps);
  return eps;
}

float scale_of(const char* op, float scale) {
  SACCADE_CHECK(std::isfinite(scale), op, "scale must be finite, it is ", scale);
  return scale;
}

}  // namespace
}  // namespace saccade::capi

using namespace saccade::capi;
namespace ops = saccade::ops;
using saccade::Tensor;

saccade_status saccade_ops_rms_norm(const saccade_tensor* x, const saccade_tensor* weight,
                                    const saccade_tensor* shift, float eps,
                                    const saccade_tensor* out, void* stream) {
  constexpr auto kOp = "rms_norm";
  return guarded([&] {
    const Operands given(kOp, "x", x, stream);
    const Tensor result = given.take("out", out);
    SACCADE_CHECK(result.dtype != saccade::DType::kE4m3, kOp,
                  "out must be f32, bf16 or f16, got e4m3");
    ops::rms_norm(given.stream(), given.first(), given.take("weight", weight),
                  given.take_optional("shift", shift), eps_of(kOp, eps), result);
  });
}

saccade_status saccade_ops_layer_norm(const saccade_tensor* x, const saccade_tensor* weight,
                                      const saccade_tensor* bias, float eps,
                                      const saccade_tensor* out, void* stream) {
  constexpr auto kOp = "layer_norm";
  return guarded([&] {
    const Operands given(kOp, "x", x, stream);
    ops::layer_norm(given.stream(), given.first(), given.take("weight", weight),
                    given.take("bias", bias), eps_of(kOp, eps), given.take("out", out));
  });
}

saccade_status saccade_ops_linear(const saccade_tensor* x, const saccade_tensor* x_scales,
                                  const saccade_tensor* weight, const saccade_tensor* weight_scales,
                                  const saccade_tensor* bias, int32_t activation,
                                  const saccade_tensor* out, void* stream) {
  constexpr auto kOp = "linear";
  return guarded([&] {
    const Operands given(kOp, "x", x, stream);
    ops::GemmEpilogue epilogue;
    epilogue.bias = given.take_optional("bias", bias);
    epilogue.activation = activation_of(kOp, activation);
    ops::gemm(given.stream(), {given.first(), given.take_optional("x_scales", x_scales)},
              {given.take("weight", weight), given.take_optional("weight_scales", weight_scales)},
              epilogue, given.take("out", out));
  });
}

saccade_status saccade_ops_quantize(const saccade_tensor* x, const saccade_tensor* out,
                                    const saccade_tensor* out_scales, void* stream) {
  return guarded([&] {
    const Operands given("quantize", "x", x, stream);
    ops::quantize(given.stream(), given.first(),
                  {given.take("out", out), given.take("out_scales", out_scales)});
  });
}

saccade_status saccade_ops_rope_table(float base, const saccade_tensor* table) {
  return guarded([&] {
    const Operands given("rope_table", "table", table, nullptr);
    SACCADE_CHECK(given.stream().device == saccade::Device::kCpu, "rope_table",
                  "table must be in host memory");
    ops::rope_table(base, given.first());
  });
}

saccade_status saccade_ops_rope(const saccade_tensor* qkv, const saccade_tensor* positions,
                                const saccade_tensor* table, const saccade_tensor* q,
                                const saccade_tensor* k, const saccade_tensor* v, void* stream) {
  return guarded([&] {
    const Operands given("rope", "qkv", qkv, stream);
    ops::rope(given.stream(), given.first(), given.take("positions", positions),
              given.take("table", table), given.take_optional("q", q), given.take("k", k),
              given.take("v", v));
  });
}

saccade_status saccade_ops_attention(const saccade_tensor* q, const saccade_tensor* k,
                                     const saccade_tensor* v, const saccade_tensor* visible,
                                     float scale, const saccade_tensor* out, void* stream) {
  constexpr auto kOp = "attention";
  return guarded([&] {
    const Operands given(kOp, "q", q, stream);
    ops::attention(given.stream(), given.first(), given.take("k", k), given.take("v", v),
                   given.take_optional("visible", visible), scale_of(kOp, scale),
                   given.take("out", out));
  });
}

saccade_status saccade_ops_attention_packed(const saccade_tensor* qkv, int32_t heads, float scale,
                                            const saccade_tensor* out, void* stream) {
  constexpr auto kOp = "attention_packed";
  return guarded([&] {
    const Operands given(kOp, "qkv", qkv, stream);
    ops::attention_packed(given.stream(), given.first(), heads, scale_of(kOp, scale),
                          given.take("out", out));
  });
}

saccade_status saccade_ops_resize_with_pad(const saccade_tensor* frame, int32_t filter,
                                           const saccade_tensor* out, void* stream) {
  constexpr auto kOp = "resize_with_pad";
  return guarded([&] {
    const Operands given(kOp, "frame", frame, stream);
    ops::resize_with_pad(given.stream(), given.first(), filter_of(kOp, filter),
                         given.take("out", out));
  });
}
