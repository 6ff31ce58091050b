#include "definitions.h"
#include "ops/op_case.h"
#include "saccade/ops/activation.h"

namespace saccade::testing {
namespace {

OpCase make(const std::string& name, decltype(ops::silu)* function, double (*definition)(double),
            Shape shape, DType dtype) {
  const double count = double(shape.size());
  return {
      .name = name + "/" + name_of(dtype) + "/" + std::to_string(shape.size()),
      .inputs = {{shape, dtype}},
      .outputs = {{shape, dtype}},
      .run = [=](const Stream& s, std::span<const Tensor> in,
                 std::span<const Tensor> out) { function(s, in[0], out[0]); },
      .exact = [=](std::span<const Values> in) -> std::vector<Values> {
        Values out;
        for (double x : in[0]) out.push_back(definition(x));
        return {out};
      },
      .tolerance = tolerance_of(dtype),
      .flops = 10 * count,
      .bytes = 2 * count* double(size_of(dtype)),
  };
}

OpCase silu(Shape shape, DType dtype) { return make("silu", ops::silu, exact_silu, shape, dtype); }

OpCase gelu(Shape shape, DType dtype) { return make("gelu", ops::gelu, exact_gelu, shape, dtype); }

/// The tails, where exp() overflows and underflows.
OpCase wide(OpCase op, float limit) {
  op.name += "/wide" + std::to_string(int(limit));
  op.inputs[0].fill = fill_uniform(-limit, limit);
  return op;
}

}  // namespace

std::vector<OpCase> activation_cases() {
  return {
      silu({1}, DType::kF32),
      silu({3, 5, 7}, DType::kBf16),
      silu({3, 5, 7}, DType::kF16),
      in_place(silu({1023}, DType::kF32)),
      wide(silu({4001}, DType::kF32), 200),
      silu({1, 1024}, DType::kF32),
      gelu({1}, DType::kF32),
      gelu({3, 5, 7}, DType::kBf16),
      gelu({3, 5, 7}, DType::kF16),
      in_place(gelu({1023}, DType::kF32)),
      wide(gelu({4001}, DType::kF32), 6),
      wide(gelu({4001}, DType::kF32), 200),
      gelu({256, 4304}, DType::kF16),  // SigLIP
  };
}

}  // namespace saccade::testing
