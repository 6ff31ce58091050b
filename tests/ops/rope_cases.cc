#include <cmath>

#include "ops/op_case.h"
#include "saccade/ops/rope.h"

namespace saccade::testing {
namespace {

constexpr float kBase = 10000;

void fill_table(Tensor table, std::mt19937&) { ops::rope_table(kBase, table); }

/// Rotates `heads` heads that start at `column` of every row of qkv.
Values rotated(std::span<const Values> in, int rows, int width, int column, int heads,
               int head_dim) {
  const int half = head_dim / 2;
  Values out;
  for (int row = 0; row < rows; ++row) {
    const double* angles = in[2].data() + int(in[1][row]) * head_dim;
    for (int head = 0; head < heads; ++head) {
      const double* x = in[0].data() + row * width + column + head * head_dim;
      for (int i = 0; i < half; ++i) {
        out.push_back(x[i] * angles[i] - x[i + half] * angles[half + i]);
      }
      for (int i = 0; i < half; ++i) {
        out.push_back(x[i + half] * angles[i] + x[i] * angles[half + i]);
      }
    }
  }
  return out;
}

struct Heads {
  int heads;
  int kv_heads;
  int head_dim;
};

OpCase make(int rows, Heads h, int positions, DType dtype, bool with_q = true) {
  const int width = (h.heads + 2 * h.kv_heads) * h.head_dim;
  const int keys = h.heads * h.head_dim;
  const int values = keys + h.kv_heads * h.head_dim;
  const double count = double(rows) * (with_q ? width : 2 * h.kv_heads * h.head_dim);
  const Operand kv{{rows, h.kv_heads, h.head_dim}, dtype};
  std::vector<Operand> outputs{kv, kv};
  if (with_q) outputs.push_back({{rows, h.heads, h.head_dim}, dtype});
  return {
      .name = std::string("rope/") + name_of(dtype) + "/" +
              extents({rows, h.heads, h.kv_heads, h.head_dim}) + (with_q ? "" : "/without_q"),
      .inputs = {{{rows, width}, dtype},
                 {{rows}, DType::kI32, fill_integers(0, positions - 1)},
                 {{positions, h.head_dim}, DType::kF32, fill_table}},
      .outputs = outputs,
      .run =
          [=](const Stream& s, std::span<const Tensor> in, std::span<const Tensor> out) {
            ops::rope(s, in[0], in[1], in[2], with_q ? out[2] : Tensor{}, out[0], out[1]);
          },
      .exact =
          [=](std::span<const Values> in) {
            std::vector<Values> out{rotated(in, rows, width, keys, h.kv_heads, h.head_dim), {}};
            for (int row = 0; row < rows; ++row) {
              const auto first = in[0].begin() + row * width;
              out[1].insert(out[1].end(), first + values, first + width);
            }
            if (with_q) out.push_back(rotated(in, rows, width, 0, h.heads, h.head_dim));
            return out;
          },
      .tolerance = tolerance_of(dtype),
      .flops = 3 * count,
      .bytes = 2 * count * double(size_of(dtype)),
  };
}

OpCase table(int positions, int dim) {
  return {
      .name = "rope_table/f32/" + extents({positions, dim}),
      .inputs = {},
      .outputs = {{{positions, dim}, DType::kF32}},
      .run = [](const Stream&, std::span<const Tensor>,
                std::span<const Tensor> out) { ops::rope_table(kBase, out[0]); },
      .exact = [=](std::span<const Values>) -> std::vector<Values> {
        Values out(std::size_t(positions) * dim);
        for (int position = 0; position < positions; ++position) {
          for (int i = 0; i < dim / 2; ++i) {
            const double angle = position * std::pow(double(kBase), -2.0 * i / dim);
            out[position * dim + i] = std::cos(angle);
            out[position * dim + dim / 2 + i] = std::sin(angle);
          }
        }
        return {out};
      },
      // An angle near `positions` radians is off by an f32 rounding of the product and two of the
      // frequency.
      .tolerance = 1e-7 * (1 + positions),
      .flops = 4.0 * positions* dim,
      .bytes = 4.0 * positions* dim,
  };
}

}  // namespace

std::vector<OpCase> rope_cases() {
  return {
      table(1, 2),
      table(7, 6),
      table(1024, 256),
      make(1, {1, 1, 2}, 1, DType::kF32),
      make(3, {4, 2, 6}, 9, DType::kF32),
      make(3, {4, 2, 6}, 9, DType::kBf16),
      make(5, {8, 1, 256}, 900, DType::kF32, false),
      make(50, {8, 1, 256}, 900, DType::kF32),  // action expert
      make(50, {8, 1, 256}, 900, DType::kBf16),
      make(532, {8, 1, 256}, 532, DType::kBf16),  // prefix
  };
}

}  // namespace saccade::testing
