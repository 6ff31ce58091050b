#include <algorithm>
#include <cmath>

#include "ops/op_case.h"
#include "rope_definition.h"
#include "saccade/ops/rope.h"

namespace saccade::testing {
namespace {

constexpr float kBase = 10000;

void rotate(const double* x, int heads, int head_dim, const double* angles, double* out) {
  const int half = head_dim / 2;
  for (int head = 0; head < heads; ++head, x += head_dim, out += head_dim) {
    for (int i = 0; i < half; ++i) {
      out[i] = x[i] * angles[i] - x[i + half] * angles[half + i];
      out[i + half] = x[i + half] * angles[i] + x[i] * angles[half + i];
    }
  }
}

}  // namespace

void fill_rope_table(Tensor table, std::mt19937&) { ops::rope_table(kBase, table); }

std::vector<Values> exact_rope(const RopeValues& in, Heads h, bool with_q) {
  const std::size_t rows = in.positions.size();
  const int queries = h.heads * h.head_dim;
  const int keys = h.kv_heads * h.head_dim;
  Values k = in.k, v = in.v, q(rows * queries);
  for (std::size_t row = 0; row < rows; ++row) {
    const auto position = std::size_t(in.positions[row]);
    const double* qkv = &in.qkv[row * h.width()];
    const double* angles = &in.table[position * h.head_dim];
    rotate(qkv, h.heads, h.head_dim, angles, &q[row * queries]);
    rotate(qkv + queries, h.kv_heads, h.head_dim, angles, &k[position * keys]);
    std::copy_n(qkv + queries + keys, keys, &v[position * keys]);
  }
  if (!with_q) return {k, v};
  return {k, v, q};
}

namespace {

// The places of the inputs.
enum : std::size_t { kQkv, kPositions, kTable, kK, kV };

OpCase make(int rows, Heads h, int cache_rows, DType dtype, bool with_q = true) {
  const double count = double(rows) * (with_q ? h.width() : 2 * h.kv_heads * h.head_dim);
  const Shape cache{cache_rows, h.kv_heads, h.head_dim};
  std::vector<Operand> outputs{{.shape = cache, .dtype = dtype, .starts_as = kK},
                               {.shape = cache, .dtype = dtype, .starts_as = kV}};
  if (with_q) outputs.push_back({{rows, h.heads, h.head_dim}, dtype});
  return {
      .name = std::string("rope/") + name_of(dtype) + "/" +
              extents({rows, h.heads, h.kv_heads, h.head_dim}) + (with_q ? "" : "/without_q"),
      .inputs = {{{rows, h.width()}, dtype},
                 {{rows}, DType::kI32, fill_distinct(0, cache_rows - 1)},
                 {{cache_rows, h.head_dim}, DType::kF32, fill_rope_table},
                 {cache, dtype},
                 {cache, dtype}},
      .outputs = outputs,
      .run =
          [=](const Stream& s, std::span<const Tensor> in, std::span<const Tensor> out) {
            ops::rope(s, in[kQkv], in[kPositions], in[kTable], with_q ? out[2] : Tensor{}, out[0],
                      out[1]);
          },
      .exact =
          [=](std::span<const Values> in) {
            return exact_rope({in[kQkv], in[kPositions], in[kTable], in[kK], in[kV]}, h, with_q);
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
      .host_only = true,
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
      make(3, {4, 2, 6}, 9, DType::kF16),
      make(7, {3, 1, 10}, 7, DType::kF32),
      make(2, {2, 2, 8}, 5, DType::kBf16, false),
      make(5, {8, 1, 256}, 900, DType::kF32, false),
      make(50, {8, 1, 256}, 900, DType::kF32),  // action expert
      make(50, {8, 1, 256}, 900, DType::kBf16),
      make(50, {8, 1, 256}, 900, DType::kBf16, false),
      make(532, {8, 1, 256}, 600, DType::kBf16),  // prefix
  };
}

}  // namespace saccade::testing
