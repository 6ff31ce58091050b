#include <cmath>
#include <limits>

#include "core/bf16.h"
#include "core/f16.h"
#include "ops/op_case.h"
#include "saccade/ops/quantize.h"
#include "scaled_matrix.h"

namespace saccade::testing {
namespace {

void set(const Tensor& tensor, std::int64_t index, float value) {
  if (tensor.dtype == DType::kF32) {
    tensor.as<float>()[index] = value;
  } else if (tensor.dtype == DType::kF16) {
    tensor.as<f16>()[index] = from_float<f16>(value);
  } else {
    tensor.as<bf16>()[index] = from_float<bf16>(value);
  }
}

/// Rows and blocks of unlike magnitudes, which do not change what they round to. The second of
/// three rows or more is zero.
void fill_uneven(Tensor tensor, std::mt19937& random) {
  const int rows = tensor.shape[0], columns = tensor.shape[1];
  std::normal_distribution<float> normal;
  for (int row = 0; row < rows; ++row) {
    for (int i = 0; i < columns; ++i) {
      const int exponent = 3 * (row % 5) - 2 * (i / ops::kScaleBlock % 3) - 4;
      const float value = rows > 2 && row == 1 ? 0 : std::ldexp(normal(random), exponent);
      set(tensor, std::int64_t(row) * columns + i, value);
    }
  }
}

/// An infinity in the first row, a NaN in front of one in the last.
void fill_not_finite(Tensor tensor, std::mt19937& random) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const int rows = tensor.shape[0], columns = tensor.shape[1];
  fill_uneven(tensor, random);
  set(tensor, columns / 2, -kInfinity);
  set(tensor, std::int64_t(rows - 1) * columns, std::numeric_limits<float>::quiet_NaN());
  set(tensor, std::int64_t(rows) * columns - 1, kInfinity);
}

OpCase make(int rows, int columns, DType x, Scales scales) {
  const int blocks = blocks_of(scales, columns);
  const double count = double(rows) * columns;
  return {
      .name = std::string("quantize/") + saccade::name_of(x) + "/" + name_of(scales) + "/" +
              extents({rows, columns}),
      .inputs = {{{rows, columns}, x, fill_uneven}},
      .outputs = {{{rows, columns}, DType::kE4m3}, {{blocks, rows}, DType::kF32}},
      .run =
          [](const Stream& s, std::span<const Tensor> in, std::span<const Tensor> out) {
            ops::quantize(s, in[0], {out[0], out[1]});
          },
      .exact =
          [=](std::span<const Values> in) { return exact_quantized(in[0], rows, columns, blocks); },
      .tolerance = tolerance_of(DType::kE4m3),
      .flops = 2 * count,
      .bytes = count * double(size_of(x) + 1),
  };
}

OpCase not_finite(OpCase op) {
  op.name += "/not_finite";
  op.inputs[0].fill = fill_not_finite;
  return op;
}

}  // namespace

std::vector<OpCase> quantize_cases() {
  std::vector<OpCase> cases;
  for (DType x : {DType::kF32, DType::kBf16, DType::kF16}) {
    for (Scales scales : {Scales::kRows, Scales::kBlocks}) {
      const std::vector<OpCase> more{
          make(1, 1, x, scales),
          make(3, 17, x, scales),
          make(5, 8, x, scales),
          make(4, 127, x, scales),
          make(1, 128, x, scales),
          make(3, 129, x, scales),
          make(7, 300, x, scales),  // rows of 8-byte multiples, or 16
          make(6, 1160, x, scales),
          make(3, 2048, x, scales),
          make(70, 2304, x, scales),
          make(2, 4104, x, scales),
          make(3, 16384, x, scales),
          make(2, 16400, x, scales),
          make(2, 40003, x, scales),
          not_finite(make(5, 272, x, scales)),
          not_finite(make(3, 1030, x, scales)),
      };
      cases.insert(cases.end(), more.begin(), more.end());
    }
  }
  cases.push_back(make(2048, 1152, DType::kF32, Scales::kRows));  // as weights at load
  cases.push_back(make(512, 4096, DType::kBf16, Scales::kRows));
  cases.push_back(make(576, 2048, DType::kBf16, Scales::kBlocks));  // as attention leaves it
  return cases;
}

}  // namespace saccade::testing
