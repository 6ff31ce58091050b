#include <cmath>

#include "ops/op_case.h"
#include "saccade/ops/norm.h"

namespace saccade::testing {
namespace {

constexpr float kEps = 1e-6f;

Values exact(int rows, int dim, const Values& x, const Values& weight) {
  Values out(x.size());
  for (int r = 0; r < rows; ++r) {
    double sum = 0;
    for (int i = 0; i < dim; ++i) sum += x[r * dim + i] * x[r * dim + i];
    const double scale = 1 / std::sqrt(sum / dim + kEps);
    for (int i = 0; i < dim; ++i) out[r * dim + i] = x[r * dim + i] * scale * weight[i];
  }
  return out;
}

OpCase make(int rows, int dim, DType dtype, DType out_dtype) {
  const double count = double(rows) * dim;
  return {
      .name = std::string("rms_norm/") + name_of(dtype) + "_" + name_of(out_dtype) + "/" +
              extents({rows, dim}),
      .inputs = {{{rows, dim}, dtype}, {{dim}, DType::kF32}},
      .outputs = {{{rows, dim}, out_dtype}},
      .run = [](const Stream& s, std::span<const Tensor> in,
                std::span<const Tensor> out) { ops::rms_norm(s, in[0], in[1], kEps, out[0]); },
      .exact = [=](std::span<const Values> in) -> std::vector<Values> {
        return {exact(rows, dim, in[0], in[1])};
      },
      .tolerance = tolerance_of(out_dtype),
      .flops = 4 * count,
      .bytes = count* double(size_of(dtype) + size_of(out_dtype)),
  };
}

OpCase make(int rows, int dim, DType dtype) { return make(rows, dim, dtype, dtype); }

}  // namespace

std::vector<OpCase> rms_norm_cases() {
  return {
      make(3, 24, DType::kF32, DType::kBf16),  // residual stream to a product's operand
      make(3, 24, DType::kBf16, DType::kF32),
      make(1, 8, DType::kF32),      // smallest
      make(3, 1032, DType::kBf16),  // ragged last chunk
      make(5, 2056, DType::kF32),   // one vector in the second chunk
      in_place(make(7, 64, DType::kF32)),
      in_place(make(7, 64, DType::kBf16)),
      make(50, 1024, DType::kBf16),   // action expert
      make(816, 2048, DType::kBf16),  // three cameras and a prompt
  };
}

}  // namespace saccade::testing
