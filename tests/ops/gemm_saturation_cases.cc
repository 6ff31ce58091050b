#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>

#include "definitions.h"
#include "ops/op_case.h"
#include "saccade/ops/gemm.h"
#include "scaled_matrix.h"

namespace saccade::testing {
namespace {

constexpr double kF16Max = 65504;

/// x weight^T + bias in f16, of which some columns are beyond f16 or no numbers.
struct Beyond {
  int m;
  int k;
  int n;
  DType x = DType::kF16;
  DType weight = DType::kF16;

  bool has_scaled_weight() const { return weight == DType::kE4m3; }
};

enum : std::size_t { kX, kWeight, kBias, kScales };

void fill_beyond(Tensor bias, std::mt19937& random) {
  fill_normal(bias, random);
  constexpr auto kInfinity = std::numeric_limits<float>::infinity();
  const float values[] = {1e6f, -7e4f, std::nanf(""), kInfinity, -kInfinity};
  std::copy(std::begin(values), std::end(values), bias.as<float>());
}

/// f16 saturates, and NaN stays NaN.
Values exact(const Beyond& g, std::span<const Values> in) {
  Values out;
  for (int row = 0; row < g.m; ++row) {
    const double* x = in[kX].data() + std::size_t(row) * g.k;
    for (int column = 0; column < g.n; ++column) {
      const double sum = exact_dot(x, in[kWeight].data() + std::size_t(column) * g.k, g.k);
      const double scale = g.has_scaled_weight() ? in[kScales][column] : 1;
      out.push_back(std::clamp(scale * sum + in[kBias][column], -kF16Max, kF16Max));
    }
  }
  return out;
}

OpCase make(const Beyond& g) {
  const float deviation = 1 / std::sqrt(float(g.k));
  const Operand weight = g.has_scaled_weight()
                             ? scaled_values(g.n, g.k)
                             : Operand{{g.n, g.k}, g.weight, fill_normal_of(deviation)};
  return {
      .name = std::string("gemm/beyond/") + name_of(g.x) + "_" + name_of(g.weight) + "/" +
              extents({g.m, g.k, g.n}),
      .inputs = {{{g.m, g.k}, g.x},
                 weight,
                 {{g.n}, DType::kF32, fill_beyond},
                 scales_of(1, g.n, deviation)},
      .outputs = {{{g.m, g.n}, DType::kF16}},
      .run =
          [=](const Stream& s, std::span<const Tensor> in, std::span<const Tensor> out) {
            const Tensor scales = g.has_scaled_weight() ? in[kScales] : Tensor{};
            ops::gemm(s, in[kX], {in[kWeight], scales}, {.bias = in[kBias]}, out[0]);
          },
      .exact = [=](std::span<const Values> in) -> std::vector<Values> { return {exact(g, in)}; },
      .tolerance = tolerance_of(DType::kF16),
      .flops = 2.0 * g.m* g.k* g.n,
      .bytes = double(g.n) * g.k* double(size_of(g.weight)),
  };
}

}  // namespace

/// Through each of the kernels that store f16.
std::vector<OpCase> gemm_saturation_cases() {
  return {
      make({.m = 5, .k = 33, .n = 17, .x = DType::kF32, .weight = DType::kF32}),
      make({.m = 5, .k = 64, .n = 64, .x = DType::kF32, .weight = DType::kF32}),
      make({.m = 70, .k = 60, .n = 66}),
      make({.m = 50, .k = 1024, .n = 256, .weight = DType::kE4m3}),
      make({.m = 200, .k = 256, .n = 128}),
  };
}

}  // namespace saccade::testing
