#include <algorithm>
#include <cmath>

#include "ops/op_case.h"
#include "saccade/ops/norm.h"

namespace saccade::testing {
namespace {

constexpr float kEps = 1e-6f;

Values exact(int rows, int dim, const Values& x, const Values& modulation) {
  Values out(x.size());
  for (int r = 0; r < rows; ++r) {
    double sum = 0;
    for (int i = 0; i < dim; ++i) sum += x[r * dim + i] * x[r * dim + i];
    const double inverse_rms = 1 / std::sqrt(sum / dim + kEps);
    for (int i = 0; i < dim; ++i) {
      out[r * dim + i] = x[r * dim + i] * inverse_rms * (1 + modulation[i]) + modulation[dim + i];
    }
  }
  return out;
}

/// The gate is NaN: the op must not read it.
void fill_modulation(Tensor modulation, std::mt19937& random) {
  fill_normal(modulation.rows(0, 2), random);
  const Tensor gate = modulation.rows(2, 1);
  std::fill_n(gate.as<float>(), gate.shape.size(), std::nanf(""));
}

OpCase make(int rows, int dim, DType dtype, DType out_dtype) {
  const double count = double(rows) * dim;
  return {
      .name = std::string("ada_rms_norm/") + name_of(dtype) + "_" + name_of(out_dtype) + "/" +
              extents({rows, dim}),
      .inputs = {{{rows, dim}, dtype}, {{3, dim}, DType::kF32, fill_modulation}},
      .outputs = {{{rows, dim}, out_dtype}},
      .run = [](const Stream& s, std::span<const Tensor> in,
                std::span<const Tensor> out) { ops::ada_rms_norm(s, in[0], in[1], kEps, out[0]); },
      .exact = [=](std::span<const Values> in) -> std::vector<Values> {
        return {exact(rows, dim, in[0], in[1])};
      },
      .tolerance = tolerance_of(out_dtype),
      .flops = 6 * count,
      .bytes = count* double(size_of(dtype) + size_of(out_dtype)),
  };
}

OpCase make(int rows, int dim, DType dtype) { return make(rows, dim, dtype, dtype); }

}  // namespace

std::vector<OpCase> ada_rms_norm_cases() {
  return {
      make(3, 24, DType::kF32, DType::kBf16),  // residual stream to a product's operand
      make(3, 24, DType::kBf16, DType::kF32),
      make(1, 8, DType::kF32),
      make(3, 17, DType::kF32),
      make(3, 17, DType::kBf16),
      in_place(make(5, 72, DType::kF32)),
      in_place(make(5, 72, DType::kBf16)),
      make(50, 1024, DType::kF32),  // action expert
      make(50, 1024, DType::kBf16),
  };
}

}  // namespace saccade::testing
