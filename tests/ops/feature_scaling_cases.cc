#include "ops/op_case.h"
#include "saccade/ops/norm.h"

namespace saccade::testing {
namespace {

constexpr float kGain = 2;
constexpr float kBias = -1;

ops::FeatureScaling scaling(std::span<const Tensor> in) {
  return {.center = in[1], .range = in[2], .gain = kGain, .bias = kBias};
}

OpCase make(const std::string& name, int rows, int columns, int dim) {
  const double count = double(rows) * dim;
  return {
      .name = name + "/f32/" + extents({rows, columns, dim}),
      .inputs = {{{rows, columns}, DType::kF32},
                 {{dim}, DType::kF32},
                 {{dim}, DType::kF32, fill_uniform(0.5f, 1.5f)}},
      .outputs = {{{rows, dim}, DType::kF32}},
      .run = {},
      .exact = {},
      .tolerance = tolerance_of(DType::kF32),
      .flops = 4 * count,
      .bytes = 8 * count,
  };
}

OpCase normalize(int rows, int dim) {
  OpCase op = make("normalize", rows, dim, dim);
  op.run = [](const Stream& s, std::span<const Tensor> in, std::span<const Tensor> out) {
    ops::normalize(s, in[0], scaling(in), out[0]);
  };
  op.exact = [=](std::span<const Values> in) -> std::vector<Values> {
    Values out(in[0].size());
    for (std::size_t i = 0; i < out.size(); ++i) {
      const std::size_t column = i % dim;
      out[i] = (in[0][i] - in[1][column]) / in[2][column] * kGain + kBias;
    }
    return {out};
  };
  return op;
}

OpCase denormalize(int rows, int padded_dim, int dim) {
  OpCase op = make("denormalize", rows, padded_dim, dim);
  op.run = [](const Stream& s, std::span<const Tensor> in, std::span<const Tensor> out) {
    ops::denormalize(s, in[0], scaling(in), out[0]);
  };
  op.exact = [=](std::span<const Values> in) -> std::vector<Values> {
    Values out;
    for (int row = 0; row < rows; ++row) {
      for (int i = 0; i < dim; ++i) {
        out.push_back((in[0][row * padded_dim + i] - kBias) / kGain * in[2][i] + in[1][i]);
      }
    }
    return {out};
  };
  return op;
}

}  // namespace

std::vector<OpCase> feature_scaling_cases() {
  return {
      normalize(1, 1),
      normalize(1, 32),  // a state
      normalize(3, 7),
      in_place(normalize(3, 7)),
      denormalize(1, 1, 1),
      denormalize(3, 8, 7),
      denormalize(50, 32, 14),  // the actions of ALOHA
      in_place(denormalize(3, 7, 7)),
  };
}

}  // namespace saccade::testing
