#include "ops/op_case.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "core/bf16.h"
#include "core/e4m3.h"
#include "core/f16.h"

namespace saccade::testing {
namespace {

template <typename Distribution>
void fill_from(Distribution distribution, Tensor tensor, std::mt19937& random) {
  for (std::int64_t i = 0; i < tensor.shape.size(); ++i) {
    const float value = distribution(random);
    if (tensor.dtype == DType::kF32) {
      tensor.as<float>()[i] = value;
    } else if (tensor.dtype == DType::kF16) {
      tensor.as<f16>()[i] = from_float<f16>(value);
    } else if (tensor.dtype == DType::kE4m3) {
      tensor.as<e4m3>()[i] = from_float<e4m3>(value);
    } else {
      tensor.as<bf16>()[i] = from_float<bf16>(value);
    }
  }
}

}  // namespace

void fill_normal(Tensor tensor, std::mt19937& random) { fill_normal_of(1)(tensor, random); }

Fill fill_normal_of(float deviation) {
  return [=](Tensor tensor, std::mt19937& random) {
    fill_from(std::normal_distribution<float>(0, deviation), tensor, random);
  };
}

Fill fill_uniform(float low, float high) {
  return [=](Tensor tensor, std::mt19937& random) {
    fill_from(std::uniform_real_distribution<float>(low, high), tensor, random);
  };
}

Fill fill_integers(int low, int high) {
  return [=](Tensor tensor, std::mt19937& random) {
    std::uniform_int_distribution<int> uniform(low, high);
    for (std::int64_t i = 0; i < tensor.shape.size(); ++i) {
      tensor.as<std::int32_t>()[i] = uniform(random);
    }
  };
}

Fill fill_distinct(int low, int high) {
  return [=](Tensor tensor, std::mt19937& random) {
    std::vector<int> integers(std::size_t(high - low + 1));
    std::iota(integers.begin(), integers.end(), low);
    std::shuffle(integers.begin(), integers.end(), random);
    std::copy_n(integers.begin(), tensor.shape.size(), tensor.as<std::int32_t>());
  };
}

Fill fill_with(std::vector<int> integers) {
  return [integers = std::move(integers)](Tensor tensor, std::mt19937&) {
    std::copy(integers.begin(), integers.end(), tensor.as<std::int32_t>());
  };
}

OpCase in_place(OpCase op) {
  op.name += "/in_place";
  op.outputs[0].starts_as = 0;
  op.run = [run = std::move(op.run)](const Stream& s, std::span<const Tensor> in,
                                     std::span<const Tensor> out) {
    std::vector<Tensor> inputs(in.begin(), in.end());
    inputs[0] = out[0];
    run(s, inputs, out);
  };
  return op;
}

double tolerance_of(DType dtype) {
  if (dtype == DType::kF32 || dtype == DType::kE4m3) return 1e-6;
  return dtype == DType::kF16 ? 4e-4 : 3e-3;
}

std::string extents(std::initializer_list<int> list) {
  std::string text;
  for (int extent : list) text.append(text.empty() ? "" : "x").append(std::to_string(extent));
  return text;
}

std::vector<OpCase> all_cases() {
  std::vector<OpCase> all;
  for (const auto& cases :
       {activation_cases(), attention_cases(), embedding_cases(), feature_scaling_cases(),
        flow_cases(), gemm_cases(), gemm_guidance_cases(), gemm_saturation_cases(),
        layer_norm_cases(), normal_noise_cases(), patch_embedding_cases(), project_qkv_cases(),
        quantize_cases(), resize_with_pad_cases(), rms_norm_cases(), rope_cases()}) {
    all.insert(all.end(), cases.begin(), cases.end());
  }
  return all;
}

}  // namespace saccade::testing
