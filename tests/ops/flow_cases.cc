#include <cmath>
#include <numbers>

#include "ops/op_case.h"
#include "saccade/ops/flow.h"

namespace saccade::testing {
namespace {

constexpr double kMinPeriod = 4e-3;
constexpr double kMaxPeriod = 4.0;

OpCase time_embedding(float time, int dim) {
  return {
      .name = "time_embedding/f32/" + std::to_string(dim) + "/" + std::to_string(time),
      .inputs = {},
      .outputs = {{{dim}, DType::kF32}},
      .run =
          [=](const Stream&, std::span<const Tensor>, std::span<const Tensor> out) {
            ops::time_embedding(time, kMinPeriod, kMaxPeriod, out[0]);
          },
      .exact = [=](std::span<const Values>) -> std::vector<Values> {
        Values out(dim);
        const int half = dim / 2;
        for (int i = 0; i < half; ++i) {
          const double period = kMinPeriod * std::pow(kMaxPeriod / kMinPeriod, i / (half - 1.0));
          out[i] = std::sin(2 * std::numbers::pi * time / period);
          out[half + i] = std::cos(2 * std::numbers::pi * time / period);
        }
        return {out};
      },
      .tolerance = 1e-7,  // rounded once
      .flops = 4.0 * dim,
      .bytes = 4.0 * dim,
      .host_only = true,
  };
}

OpCase euler_step(int rows, int dim) {
  constexpr float kDt = -0.1f;
  const double count = double(rows) * dim;
  return {
      .name = "euler_step/f32/" + extents({rows, dim}),
      .inputs = {{{rows, dim}, DType::kF32}, {{rows, dim}, DType::kF32}},
      .outputs = {{{rows, dim}, DType::kF32, {}, 0}},
      .run = [](const Stream& s, std::span<const Tensor> in,
                std::span<const Tensor> out) { ops::euler_step(s, out[0], in[1], kDt); },
      .exact = [](std::span<const Values> in) -> std::vector<Values> {
        Values out = in[0];
        for (std::size_t i = 0; i < out.size(); ++i) out[i] += kDt * in[1][i];
        return {out};
      },
      .tolerance = tolerance_of(DType::kF32),
      .flops = 2 * count,
      .bytes = 12 * count,
  };
}

}  // namespace

std::vector<OpCase> flow_cases() {
  return {
      time_embedding(1, 4),       time_embedding(0.7f, 6), time_embedding(0, 1024),
      time_embedding(0.1f, 1024), time_embedding(1, 1024), euler_step(1, 1),
      euler_step(3, 7),           euler_step(50, 32),
  };
}

}  // namespace saccade::testing
