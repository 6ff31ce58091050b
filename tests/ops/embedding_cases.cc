#include <algorithm>

#include "ops/op_case.h"
#include "saccade/ops/embedding.h"

namespace saccade::testing {
namespace {

OpCase make(int rows, int vocabulary, int dim, float scale, DType table, DType out) {
  const double count = double(rows) * dim;
  return {
      .name = std::string("embedding/") + name_of(table) + "_" + name_of(out) + "/" +
              extents({rows, vocabulary, dim}),
      .inputs = {{{rows}, DType::kI32, fill_integers(0, vocabulary - 1)},
                 {{vocabulary, dim}, table}},
      .outputs = {{{rows, dim}, out}},
      .run = [=](const Stream& s, std::span<const Tensor> in,
                 std::span<const Tensor> o) { ops::embedding(s, in[0], in[1], scale, {}, o[0]); },
      .exact = [=](std::span<const Values> in) -> std::vector<Values> {
        Values values;
        for (double id : in[0]) {
          for (int i = 0; i < dim; ++i) values.push_back(scale * in[1][int(id) * dim + i]);
        }
        return {values};
      },
      .tolerance = tolerance_of(out),
      .flops = count,
      .bytes = count* double(size_of(table) + size_of(out)),
  };
}

OpCase first_and_last(OpCase op, int vocabulary) {
  op.name += "/first_and_last";
  op.inputs[0].fill = fill_with({0, vocabulary - 1});
  return op;
}

/// The same op, and what a norm needs. Which columns make a part of the squares is the
/// implementation's, so only a single part can be compared.
OpCase with_next(OpCase op, float scale, DType scaled) {
  const Shape shape = op.outputs[0].shape;
  const int rows = shape[0];
  const int dim = shape[1];
  const int parts = (dim + 63) / 64;
  op.name += std::string("/next_") + name_of(scaled);
  op.inputs.push_back({{dim}, DType::kF32});
  op.outputs.push_back({shape, scaled});
  (parts == 1 ? op.outputs : op.scratch).push_back({{rows, parts}, DType::kF32});
  op.run = [=](const Stream& s, std::span<const Tensor> in, std::span<const Tensor> o) {
    ops::embedding(s, in[0], in[1], scale, {.scale = in[2], .scaled = o[1], .squares = o[2]}, o[0]);
  };
  op.exact = [=, embedded = op.exact](std::span<const Values> in) {
    std::vector<Values> values = embedded(in);
    Values scaled_rows, squares(std::size_t(rows), 0.0);
    for (std::size_t i = 0; i < values[0].size(); ++i) {
      scaled_rows.push_back(values[0][i] * in[2][i % dim]);
      squares[i / dim] += values[0][i] * values[0][i];
    }
    values.push_back(scaled_rows);
    if (parts == 1) values.push_back(squares);
    return values;
  };
  op.tolerance = std::max(op.tolerance, tolerance_of(scaled));
  op.bytes += double(shape.size()) * double(size_of(scaled));
  return op;
}

}  // namespace

std::vector<OpCase> embedding_cases() {
  const auto f32 = DType::kF32;
  const auto bf16 = DType::kBf16;
  const auto f16 = DType::kF16;
  const float gain = 45.254834f;  // sqrt(2048), as PaliGemma scales
  return {
      make(1, 1, 1, 1, f32, f32),
      first_and_last(make(2, 1000, 17, 1, bf16, f32), 1000),
      make(13, 100, 65, 0.5f, f32, bf16),
      make(13, 100, 68, 0.5f, f16, f16),
      with_next(make(1, 1, 1, 1, f32, f32), 1, f32),
      with_next(make(5, 100, 17, 0.5f, f16, f32), 0.5f, f32),
      with_next(make(5, 100, 64, 0.5f, bf16, f32), 0.5f, f32),
      with_next(make(5, 100, 64, 0.5f, f32, bf16), 0.5f, f16),
      with_next(make(5, 10, 4100, 0.5f, f32, f32), 0.5f, f32),  // wider than a CTA holds
      make(200, 1000, 2048, gain, bf16, bf16),
      make(48, 1000, 2048, gain, bf16, f32),
      with_next(make(200, 1000, 2048, gain, bf16, f32), gain, bf16),
  };
}

}  // namespace saccade::testing
