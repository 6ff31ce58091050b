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
                 std::span<const Tensor> o) { ops::embedding(s, in[0], in[1], scale, o[0]); },
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

}  // namespace

std::vector<OpCase> embedding_cases() {
  const auto f32 = DType::kF32;
  const auto bf16 = DType::kBf16;
  return {
      make(1, 1, 1, 1, f32, f32),
      first_and_last(make(2, 1000, 17, 1, bf16, f32), 1000),
      make(13, 100, 65, 0.5f, f32, bf16),
      make(200, 1000, 2048, 45.254834f, bf16, bf16),  // sqrt(2048), as PaliGemma scales
      make(48, 1000, 2048, 45.254834f, bf16, f32),
  };
}

}  // namespace saccade::testing
