#include <cmath>

#include "ops/op_case.h"
#include "saccade/ops/norm.h"

namespace saccade::testing {
namespace {

constexpr float kEps = 1e-6f;

Values exact(int rows, int dim, const Values& x, const Values& weight, const Values& bias) {
  Values out(x.size());
  for (int r = 0; r < rows; ++r) {
    const double* row = x.data() + r * dim;
    double mean = 0, variance = 0;
    for (int i = 0; i < dim; ++i) mean += row[i] / dim;
    for (int i = 0; i < dim; ++i) variance += (row[i] - mean) * (row[i] - mean) / dim;
    for (int i = 0; i < dim; ++i) {
      out[r * dim + i] = (row[i] - mean) / std::sqrt(variance + kEps) * weight[i] + bias[i];
    }
  }
  return out;
}

OpCase make(int rows, int dim, DType dtype, DType out_dtype) {
  const double count = double(rows) * dim;
  return {
      .name = std::string("layer_norm/") + name_of(dtype) + "_" + name_of(out_dtype) + "/" +
              extents({rows, dim}),
      .inputs = {{{rows, dim}, dtype}, {{dim}, DType::kF32}, {{dim}, DType::kF32}},
      .outputs = {{{rows, dim}, out_dtype}},
      .run =
          [](const Stream& s, std::span<const Tensor> in, std::span<const Tensor> out) {
            ops::layer_norm(s, in[0], in[1], in[2], kEps, out[0]);
          },
      .exact = [=](std::span<const Values> in) -> std::vector<Values> {
        return {exact(rows, dim, in[0], in[1], in[2])};
      },
      .tolerance = tolerance_of(out_dtype),
      .flops = 8 * count,
      .bytes = count* double(size_of(dtype) + size_of(out_dtype)),
  };
}

OpCase make(int rows, int dim, DType dtype) { return make(rows, dim, dtype, dtype); }

/// Values around 1000 with a spread of 1: variance as mean(x^2) - mean(x)^2 would lose it in f32.
OpCase far_from_zero(OpCase op) {
  op.name += "/far_from_zero";
  op.inputs[0].fill = [](Tensor x, std::mt19937& random) {
    fill_normal(x, random);
    for (std::int64_t i = 0; i < x.shape.size(); ++i) x.as<float>()[i] += 1000;
  };
  op.tolerance = 1e-3;  // a sum near 10^6 is rounded by up to 2^-4 at every step
  return op;
}

}  // namespace

std::vector<OpCase> layer_norm_cases() {
  return {
      make(3, 24, DType::kF32, DType::kBf16),  // residual stream to a product's operand
      make(3, 24, DType::kBf16, DType::kF32),
      make(3, 24, DType::kF16, DType::kBf16),
      make(1, 2, DType::kF32),
      make(3, 17, DType::kF32),
      make(3, 17, DType::kBf16),
      make(3, 17, DType::kF16),
      make(9, 1156, DType::kF32, DType::kF16),  // wider than a warp holds
      in_place(make(5, 72, DType::kF32)),
      in_place(make(5, 72, DType::kBf16)),
      in_place(make(5, 72, DType::kF16)),
      far_from_zero(make(4, 1152, DType::kF32)),
      make(512, 1152, DType::kF32, DType::kF16),  // SigLIP, two views
      make(256, 1152, DType::kF32),
      make(256, 1152, DType::kBf16),
  };
}

}  // namespace saccade::testing
