#include <algorithm>
#include <cmath>

#include "ops/op_case.h"
#include "saccade/ops/norm.h"
#include "scaled_matrix.h"

namespace saccade::testing {
namespace {

constexpr float kEps = 1e-6f;

Values exact(int rows, int dim, const Values& x, const Values& weight, const Values& shift) {
  Values out(x.size());
  for (int r = 0; r < rows; ++r) {
    double sum = 0;
    for (int i = 0; i < dim; ++i) sum += x[r * dim + i] * x[r * dim + i];
    const double scale = 1 / std::sqrt(sum / dim + kEps);
    for (int i = 0; i < dim; ++i) {
      out[r * dim + i] = x[r * dim + i] * scale * weight[i] + (shift.empty() ? 0 : shift[i]);
    }
  }
  return out;
}

OpCase make(int rows, int dim, DType dtype, DType out_dtype, bool shifted = false) {
  const double count = double(rows) * dim;
  return {
      .name = std::string("rms_norm/") + name_of(dtype) + "_" + name_of(out_dtype) + "/" +
              extents({rows, dim}) + (shifted ? "/shift" : ""),
      .inputs = {{{rows, dim}, dtype}, {{dim}, DType::kF32}, {{dim}, DType::kF32}},
      .outputs = {{{rows, dim}, out_dtype}},
      .run =
          [=](const Stream& s, std::span<const Tensor> in, std::span<const Tensor> out) {
            ops::rms_norm(s, in[0], in[1], shifted ? in[2] : Tensor{}, kEps, out[0]);
          },
      .exact = [=](std::span<const Values> in) -> std::vector<Values> {
        return {exact(rows, dim, in[0], in[1], shifted ? in[2] : Values{})};
      },
      .tolerance = tolerance_of(out_dtype),
      .flops = 4 * count,
      .bytes = count* double(size_of(dtype) + size_of(out_dtype)),
  };
}

/// The second row is zero, which only the shift moves.
void fill_beside_zeros(Tensor tensor, std::mt19937& random) {
  fill_normal(tensor, random);
  const Tensor row = tensor.rows(1, 1);
  std::fill_n(row.as<std::byte>(), row.bytes(), std::byte{});
}

OpCase scaled(int rows, int dim, DType dtype, bool shifted = false) {
  OpCase op = make(rows, dim, dtype, DType::kE4m3, shifted);
  if (rows > 2) op.inputs[0].fill = fill_beside_zeros;
  op.outputs.push_back({{1, rows}, DType::kF32});
  op.run = [=](const Stream& s, std::span<const Tensor> in, std::span<const Tensor> out) {
    ops::rms_norm(s, in[0], in[1], shifted ? in[2] : Tensor{}, kEps, {out[0], out[1]});
  };
  op.exact = [=](std::span<const Values> in) {
    return exact_quantized(exact(rows, dim, in[0], in[1], shifted ? in[2] : Values{}), rows, dim,
                           1);
  };
  return op;
}

OpCase make(int rows, int dim, DType dtype) { return make(rows, dim, dtype, dtype); }

}  // namespace

std::vector<OpCase> rms_norm_cases() {
  return {
      make(3, 24, DType::kF32, DType::kBf16),  // residual stream to a product's operand
      make(3, 24, DType::kBf16, DType::kF32),
      make(3, 24, DType::kF16, DType::kBf16),
      make(1, 1, DType::kF32),
      make(3, 17, DType::kF32),
      make(3, 17, DType::kF16),
      make(2, 4097, DType::kBf16),
      make(2, 4100, DType::kF32),
      make(1, 8, DType::kF32),
      make(3, 1032, DType::kBf16),  // ragged last chunk
      make(5, 2056, DType::kF32),   // one vector in the second chunk
      in_place(make(7, 64, DType::kF32)),
      in_place(make(7, 64, DType::kBf16)),
      in_place(make(7, 65, DType::kF16)),
      make(50, 1024, DType::kBf16),   // action expert
      make(816, 2048, DType::kBf16),  // three cameras and a prompt
      make(3, 17, DType::kF32, DType::kF32, true),
      make(50, 1024, DType::kF32, DType::kBf16, true),
      make(2, 4100, DType::kF16, DType::kF32, true),
      scaled(1, 1, DType::kF32),
      scaled(3, 8, DType::kF32),
      scaled(5, 17, DType::kBf16, true),
      scaled(3, 100, DType::kF32),
      scaled(3, 100, DType::kF16, true),
      scaled(50, 1024, DType::kF32, true),
      scaled(70, 2048, DType::kBf16),
      scaled(3, 2052, DType::kF32, true),
      scaled(3, 4096, DType::kF32),
      scaled(2, 4100, DType::kF32),
      scaled(3, 4100, DType::kF16, true),
      scaled(576, 2048, DType::kF32),  // the prefix
  };
}

}  // namespace saccade::testing
