#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "saccade/stream.h"
#include "saccade/tensor.h"

namespace saccade::testing {

using Values = std::vector<double>;

/// Writes an operand's values before the op runs.
using Fill = std::function<void(Tensor, std::mt19937&)>;

void fill_normal(Tensor, std::mt19937&);
Fill fill_normal_of(float deviation);
Fill fill_uniform(float low, float high);
Fill fill_integers(int low, int high);  // uniform in [low, high]
Fill fill_distinct(int low, int high);  // the same, no two alike
Fill fill_with(std::vector<int> integers);

struct Operand {
  Shape shape;
  DType dtype;
  Fill fill = fill_normal;  // of inputs
  int starts_as = -1;       // of outputs: the input that an op updates in place, or none
};

/// One op at one shape. The tests check it and the benches time it, so a shape that
/// is fast is a shape that is right.
struct OpCase {
  std::string name;  // "rms_norm/bf16/816x2048"
  std::vector<Operand> inputs;
  std::vector<Operand> outputs;
  std::vector<Operand> scratch = {};  // written, but not compared: `out` of run continues with it
  std::function<void(const Stream&, std::span<const Tensor> in, std::span<const Tensor> out)> run;
  std::function<std::vector<Values>(std::span<const Values> in)> exact;  // the definition, in f64
  // On |out - exact| / |exact|, Euclidean; 1.5 times that on the largest element. Of e4m3: beside
  // its rounding, as exact is not rounded.
  double tolerance;
  double flops;
  double bytes;            // that must cross HBM at least once
  bool host_only = false;  // a CPU reference, or a table that is made at load
};

/// The same op, writing over its first input.
OpCase in_place(OpCase);

/// What a result loses by rounding to this type, with a margin. check_case sees to e4m3's rounding:
/// what is left is that of f32.
double tolerance_of(DType);

/// "1x8"
std::string extents(std::initializer_list<int>);

std::vector<OpCase> activation_cases();
std::vector<OpCase> attention_cases();
std::vector<OpCase> embedding_cases();
std::vector<OpCase> feature_scaling_cases();
std::vector<OpCase> flow_cases();
std::vector<OpCase> gemm_cases();
std::vector<OpCase> gemm_guidance_cases();
std::vector<OpCase> gemm_saturation_cases();
std::vector<OpCase> layer_norm_cases();
std::vector<OpCase> normal_noise_cases();
std::vector<OpCase> patch_embedding_cases();
std::vector<OpCase> project_qkv_cases();
std::vector<OpCase> quantize_cases();
std::vector<OpCase> resize_with_pad_cases();
std::vector<OpCase> rms_norm_cases();
std::vector<OpCase> rope_cases();

/// The cases of every op.
std::vector<OpCase> all_cases();

}  // namespace saccade::testing
