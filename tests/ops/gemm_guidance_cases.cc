#include <algorithm>
#include <cmath>

#include "definitions.h"
#include "ops/gemm/gemm.h"
#include "ops/op_case.h"
#include "scaled_matrix.h"

namespace saccade::testing {
namespace {

using ops::Activation;

enum class Through { kOp, kReference };

/// The gemm that ends a denoising step: every part of the epilogue that comes before or after
/// guidance, and a residual that is out.
struct Guided {
  int m;
  int k;
  int n;
  DType x = DType::kF32;
  DType weight = DType::kF32;
  DType out = DType::kF32;
  Activation activation = Activation::kNone;
  Through through = Through::kOp;

  int weight_rows() const { return activation == Activation::kGeglu ? 2 * n : n; }
};

constexpr float kEps = 0.25f;  // large enough to be missed
constexpr float kTime = 0.75f;

enum : std::size_t { kX, kWeight, kBias, kGate, kResidual, kSquares, kTarget, kGuidance, kScales };

int parts_of(int columns) { return (columns + 63) / 64 + 1; }

/// Every third row has none, as the rows behind the horizon.
void fill_guidance(Tensor weights, std::mt19937&) {
  for (int row = 0; row < weights.shape[0]; ++row) {
    weights.as<float>()[row] = 0.75f * float(row % 3);
  }
}

double activated(const Guided& g, const Values& sums, int column) {
  if (g.activation == Activation::kSilu) return exact_silu(sums[column]);
  if (g.activation != Activation::kGeglu) return sums[column];
  return exact_gelu(sums[column]) * sums[g.n + column];
}

std::vector<Values> exact(const Guided& g, std::span<const Values> in) {
  Values out(std::size_t(g.m) * g.n);
  Values sums(g.weight_rows());
  for (int row = 0; row < g.m; ++row) {
    const double factor = exact_norm_factor(in[kSquares], row, parts_of(g.k), g.k, kEps);
    const double* x = in[kX].data() + std::size_t(row) * g.k;
    for (int i = 0; i < g.weight_rows(); ++i) {
      sums[i] = factor * exact_dot(x, in[kWeight].data() + std::size_t(i) * g.k, g.k);
      if (g.weight == DType::kE4m3) sums[i] *= in[kScales][i];
      sums[i] += in[kBias][i];
    }
    for (int column = 0; column < g.n; ++column) {
      const std::size_t index = std::size_t(row) * g.n + column;
      double v = activated(g, sums, column);
      const double residual = in[kResidual][index];
      v -= in[kGuidance][row] * (in[kTarget][index] - (residual - kTime * v));
      out[index] = residual + in[kGate][column] * v;
    }
  }
  return {out};
}

void run(const Guided& g, const Stream& s, std::span<const Tensor> in,
         std::span<const Tensor> out) {
  const ops::ScaledMatrix weight{in[kWeight], g.weight == DType::kE4m3 ? in[kScales] : Tensor{}};
  const ops::GemmEpilogue epilogue{
      .norm = {.squares = in[kSquares], .eps = kEps},
      .bias = in[kBias],
      .activation = g.activation,
      .gate = in[kGate],
      .residual = out[0],
      .guidance = {.target = in[kTarget], .weights = in[kGuidance], .time = kTime}};
  if (g.through == Through::kReference) {
    ops::detail::gemm_cpu(ops::detail::gemm_params(s, in[kX], weight, epilogue, out[0]));
  } else {
    ops::gemm(s, in[kX], weight, epilogue, out[0]);
  }
}

OpCase make(const Guided& g) {
  constexpr const char* kActivations[] = {"", "/gelu", "/silu", "/geglu"};
  const float deviation = 1 / std::sqrt(float(g.k));
  const double out_size = double(g.m) * g.n;
  const Operand weight = g.weight == DType::kE4m3
                             ? scaled_values(g.weight_rows(), g.k)
                             : Operand{{g.weight_rows(), g.k}, g.weight, fill_normal_of(deviation)};
  return {
      .name = std::string(g.through == Through::kOp ? "gemm" : "gemm_cpu") + "_guidance/" +
              name_of(g.x) + "_" + name_of(g.weight) + "_" + name_of(g.out) + "/" +
              extents({g.m, g.k, g.n}) + kActivations[int(g.activation)],
      .inputs = {{{g.m, g.k}, g.x},
                 weight,
                 {{g.weight_rows()}, DType::kF32},
                 {{g.n}, DType::kF32},
                 {{g.m, g.n}, g.out},
                 {{g.m, parts_of(g.k)},
                  DType::kF32,
                  fill_uniform(0, 2 * float(g.k) / float(parts_of(g.k)))},
                 {{g.m, g.n}, DType::kF32},
                 {{g.m}, DType::kF32, fill_guidance},
                 scales_of(1, g.weight_rows(), deviation)},
      .outputs = {{{g.m, g.n}, g.out, {}, kResidual}},
      .run = [=](const Stream& s, std::span<const Tensor> in,
                 std::span<const Tensor> out) { run(g, s, in, out); },
      .exact = [=](std::span<const Values> in) { return exact(g, in); },
      .tolerance = std::max(tolerance_of(g.out), 1e-7 * std::sqrt(double(g.k))),
      .flops = 2.0 * g.m * g.k * g.weight_rows(),
      .bytes = double(g.m) * g.k * double(size_of(g.x)) +
               double(g.weight_rows()) * g.k * double(size_of(g.weight)) +
               out_size * double(2 * size_of(g.out) + 4),
      .host_only = g.through == Through::kReference,
  };
}

constexpr auto kF32 = DType::kF32;
constexpr auto kBf16 = DType::kBf16;
constexpr auto kF16 = DType::kF16;
constexpr auto kE4m3 = DType::kE4m3;

}  // namespace

std::vector<OpCase> gemm_guidance_cases() {
  std::vector<OpCase> cases{
      make({50, 1024, 32, kBf16, kF32, kF32}),
      make({51, 1024, 31, kBf16, kBf16, kF32}),
      make({1, 1024, 32}),
      make({3, 2048, 7, kF16, kF16, kF32}),
      make({6, 32, 32, kBf16}),                   // k as short as a tiny expert's
      make({5, 2047, 31}),                        // k is no multiple of 4
      make({65, 1024, 40, kBf16, kBf16, kF32}),   // more columns than a thin gemm's
      make({193, 520, 264, kBf16, kBf16, kF32}),  // as many as tensor cores like
      make({50, 1024, 264, kBf16, kE4m3, kF32}),
  };
  for (Through through : {Through::kOp, Through::kReference}) {
    cases.push_back(make({1, 1, 1, kF32, kF32, kF32, Activation::kNone, through}));
    for (auto activation : {Activation::kNone, Activation::kSilu, Activation::kGeglu}) {
      cases.push_back(make({5, 65, 31, kF32, kBf16, kF32, activation, through}));
      cases.push_back(make({4, 36, 130, kBf16, kBf16, kBf16, activation, through}));
      cases.push_back(make({7, 33, 17, kF16, kE4m3, kF32, activation, through}));
    }
  }
  return cases;
}

}  // namespace saccade::testing
