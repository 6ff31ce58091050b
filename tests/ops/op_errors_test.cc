#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <string>
#include <vector>

#include "saccade/error.h"
#include "saccade/ops/activation.h"
#include "saccade/ops/attention.h"
#include "saccade/ops/embedding.h"
#include "saccade/ops/flow.h"
#include "saccade/ops/gemm.h"
#include "saccade/ops/image.h"
#include "saccade/ops/norm.h"
#include "saccade/ops/quantize.h"
#include "saccade/ops/rope.h"
#include "saccade/ops/sample.h"

namespace saccade::testing {
namespace {

/// Hands out zeroed tensors that lie apart.
class Memory {
 public:
  Tensor operator()(Shape shape, DType dtype = DType::kF32, Device device = Device::kCpu) {
    const Tensor tensor{block_.data() + used_, shape, dtype, device};
    used_ += tensor.bytes();
    EXPECT_LE(used_, block_.size());
    return tensor;
  }

  Tensor integers(const std::vector<int>& values) {
    const Tensor tensor = (*this)({int(values.size())}, DType::kI32);
    std::copy(values.begin(), values.end(), tensor.as<std::int32_t>());
    return tensor;
  }

 private:
  alignas(16) std::array<std::byte, 4096> block_{};
  std::size_t used_ = 0;
};

void expect_error(const std::function<void()>& call, const std::string& message) {
  try {
    call();
    ADD_FAILURE() << "nothing was thrown, wanted: " << message;
  } catch (const InvalidArgument& error) {
    EXPECT_EQ(error.what(), message);
  }
}

constexpr auto kBf16 = DType::kBf16;
constexpr auto kI32 = DType::kI32;
constexpr auto kE4m3 = DType::kE4m3;
constexpr auto kCuda = Device::kCuda;
const Stream kCpuStream{};
const Stream kCudaStream{kCuda, nullptr};

TEST(OpErrors, Norms) {
  Memory t;
  const Tensor x = t({2, 4}), out = t({2, 4}), weight = t({4});
  const auto rms_norm = [](Tensor a, Tensor w, Tensor o) {
    return [=] { ops::rms_norm(kCpuStream, a, w, {}, 1e-6f, o); };
  };
  expect_error(rms_norm(x, t({3}), x), "[rms_norm] weight must be [4], got [3]");
  expect_error(rms_norm({}, weight, out), "[rms_norm] x is not given");
  expect_error(rms_norm(t({4}), weight, out), "[rms_norm] x must be [rows, dim], got [4]");
  expect_error(rms_norm(t({2, 0}), weight, out), "[rms_norm] x must be [rows, dim], got [2, 0]");
  expect_error(rms_norm(x, weight, t({2, 5})), "[rms_norm] out must be [2, 4], got [2, 5]");
  expect_error(rms_norm(x, t({4}, kBf16), out), "[rms_norm] weight must be f32, got bf16");
  expect_error(rms_norm(x, weight, t({2, 4}, kI32)),
               "[rms_norm] out must be f32, bf16 or f16, got i32");
  expect_error(rms_norm(t({2, 4}, kI32), weight, out),
               "[rms_norm] x must be f32, bf16 or f16, got i32");
  expect_error(rms_norm(x, t({4}, DType::kF32, kCuda), out),
               "[rms_norm] weight is on cuda, the stream runs on cpu");
  Tensor shifted = x;
  shifted.data = x.as<float>() + 1;
  expect_error(rms_norm(x, weight, shifted), "[rms_norm] out must be x or not overlap it");

  expect_error([&] { ops::layer_norm(kCpuStream, x, weight, t({5}), 1e-6f, out); },
               "[layer_norm] bias must be [4], got [5]");
  expect_error([&] { ops::rms_norm(kCpuStream, x, weight, t({5}), 1e-6f, out); },
               "[rms_norm] shift must be [4], got [5]");
}

TEST(OpErrors, FeatureScaling) {
  Memory t;
  const Tensor x = t({2, 4}), four = t({4}), five = t({5});
  expect_error(
      [&] {
        ops::normalize(kCpuStream, x, {four, five}, x);
      },
      "[normalize] range must be [4], got [5]");
  expect_error([&] { ops::normalize(kCpuStream, x, {}, x); }, "[normalize] center is not given");
  expect_error(
      [&] {
        ops::normalize(kCpuStream, t({2, 6}), {four, four}, t({2, 4}));
      },
      "[normalize] x must be [2, 4], got [2, 6]");
  expect_error(
      [&] {
        ops::denormalize(kCpuStream, x, {five, five}, t({2, 5}));
      },
      "[denormalize] x must have at least 5 columns, got [2, 4]");
  expect_error(
      [&] {
        ops::denormalize(kCpuStream, t({2, 4}, kBf16), {four, four}, x);
      },
      "[denormalize] x must be f32, got bf16");
  const Tensor padded = t({2, 6});
  Tensor inside = padded;
  inside.shape = {2, 4};
  expect_error(
      [&] {
        ops::denormalize(kCpuStream, padded, {four, four}, inside);
      },
      "[denormalize] out must be x or not overlap it");
}

TEST(OpErrors, Gemm) {
  Memory t;
  const Tensor x = t({2, 4}), weight = t({3, 4}), out = t({2, 3});
  const auto gemm = [](Tensor a, Tensor w, const ops::GemmEpilogue& e, Tensor o) {
    return [=] { ops::gemm(kCpuStream, a, w, e, o); };
  };
  const auto geglu = ops::Activation::kGeglu;
  expect_error(gemm(x, t({3, 5}), {}, out), "[gemm] weight must be [3, 4], got [3, 5]");
  expect_error(gemm(x, weight, {.activation = geglu}, out),
               "[gemm] weight must be [6, 4], got [3, 4]");
  expect_error(gemm(x, {}, {}, out), "[gemm] weight is not given");
  expect_error(gemm(t({2, 0}), t({3, 0}), {}, out), "[gemm] x must be [m, k], got [2, 0]");
  expect_error(gemm(x, weight, {}, t({3, 3})), "[gemm] out must be [2, 3], got [3, 3]");
  expect_error(gemm(x, t({3, 4}, kI32), {}, out),
               "[gemm] weight must be f32, bf16 or f16, got i32");
  expect_error(gemm(x, t({4, 4}), {}, x), "[gemm] out must not overlap x");
  expect_error(gemm(x, weight, {.bias = t({2})}, out), "[gemm] bias must be [3], got [2]");
  expect_error(gemm(x, t({6, 4}), {.bias = t({3}), .activation = geglu}, out),
               "[gemm] bias must be [6], got [3]");
  expect_error(gemm(x, weight, {.gate = t({3}, kBf16)}, out), "[gemm] gate must be f32, got bf16");
  expect_error(gemm(x, weight, {.residual = t({2, 3}, kBf16)}, out),
               "[gemm] residual must be f32, got bf16");
  expect_error(gemm(x, weight, {.residual = t({1, 3})}, out),
               "[gemm] residual must be [2, 3], got [1, 3]");
  expect_error(gemm(x, weight, {.bias = t({3}, DType::kF32, kCuda)}, out),
               "[gemm] bias is on cuda, the stream runs on cpu");
}

TEST(OpErrors, Guidance) {
  Memory t;
  const Tensor x = t({2, 4}), weight = t({3, 4}), out = t({2, 3});
  const auto gemm = [=](ops::Guidance guidance, Tensor residual) {
    return [=] {
      ops::gemm(kCpuStream, x, weight, {.residual = residual, .guidance = guidance}, out);
    };
  };
  expect_error(gemm({t({2, 3}), t({2})}, {}), "[gemm] guidance needs a residual");
  expect_error(gemm({{}, t({2})}, out), "[gemm] guidance.target is not given");
  expect_error(gemm({t({3, 3}), t({2})}, out), "[gemm] guidance.target must be [2, 3], got [3, 3]");
  expect_error(gemm({t({2, 3}, kBf16), t({2})}, out),
               "[gemm] guidance.target must be f32, got bf16");
  expect_error(gemm({out, t({2})}, out), "[gemm] out must not overlap guidance.target");
  expect_error(gemm({t({2, 3}), t({3})}, out), "[gemm] guidance.weights must be [2], got [3]");
}

TEST(OpErrors, Attention) {
  Memory t;
  const Tensor q = t({3, 4, 2}), k = t({5, 2, 2}), v = t({5, 2, 2}), out = t({3, 8});
  const auto attention = [=](Tensor keys, Tensor visible, Tensor o) {
    return [=] { ops::attention(kCpuStream, q, keys, v, visible, 1, o); };
  };
  expect_error(attention(k, t.integers({1, 6, 2}), out),
               "[attention] visible[1] must be in [1, 5], got 6");
  expect_error(attention(k, t.integers({0, 5, 2}), out),
               "[attention] visible[0] must be in [1, 5], got 0");
  expect_error(attention(k, t.integers({1, 2}), out), "[attention] visible must be [3], got [2]");
  expect_error(attention(k, t({3}), out), "[attention] visible must be i32, got f32");
  expect_error(attention(t({5, 3, 2}), {}, out), "[attention] v must be [5, 3, 2], got [5, 2, 2]");
  expect_error(attention(t({5, 2, 3}), {}, out), "[attention] k must be [5, 2, 2], got [5, 2, 3]");
  expect_error(attention(t({0, 2, 2}), {}, out),
               "[attention] k must be [kv_rows, kv_heads, head_dim], got [0, 2, 2]");
  expect_error(attention(t({5, 2, 2}, kBf16), {}, out), "[attention] k must be f32, got bf16");
  expect_error(attention(k, {}, t({3, 4, 2})), "[attention] out must be [3, 8], got [3, 4, 2]");
  expect_error(attention(k, {}, q.reshaped({3, 8})), "[attention] out must not overlap q");
  const Tensor three = t({5, 3, 2});
  expect_error([&] { ops::attention(kCpuStream, q, three, three, {}, 1, out); },
               "[attention] heads must be a multiple of kv_heads, got 4 and 3");

  const Tensor qkv = t({1, 2, 12});
  expect_error(
      [&] {
        ops::attention_packed(kCpuStream, qkv, 3, 1, t({1, 2, 4}));
      },
      "[attention_packed] qkv's last extent must be 3 x 3 heads x head_dim, got 12");
  expect_error(
      [&] {
        ops::attention_packed(kCpuStream, qkv, 0, 1, t({1, 2, 4}));
      },
      "[attention_packed] qkv's last extent must be 3 x 0 heads x head_dim, got 12");
  expect_error(
      [&] {
        ops::attention_packed(kCpuStream, qkv, 2, 1, t({1, 2, 5}));
      },
      "[attention_packed] out must be [1, 2, 4], got [1, 2, 5]");
}

TEST(OpErrors, Rope) {
  Memory t;
  const Tensor qkv = t({2, 16}), table = t({3, 4});
  const Tensor q = t({2, 2, 4}), k = t({2, 1, 4}), v = t({2, 1, 4});
  const Tensor positions = t.integers({0, 2});
  const auto rope = [=](Tensor p, Tensor a, Tensor b, Tensor c) {
    return [=] { ops::rope(kCpuStream, qkv, p, table, a, b, c); };
  };
  expect_error(rope(t.integers({0, 3}), q, k, v), "[rope] positions[1] must be in [0, 2), got 3");
  expect_error(rope(t.integers({-1, 0}), q, k, v), "[rope] positions[0] must be in [0, 2), got -1");
  expect_error(rope(positions, t({2, 3, 4}), k, v), "[rope] q must be [2, 2, 4], got [2, 3, 4]");
  expect_error(rope(positions, q, t({2, 1, 5}), v), "[rope] k must be [2, 1, 4], got [2, 1, 5]");
  expect_error(rope(positions, q, t({2, 2, 4}), t({2, 2, 4})),
               "[rope] qkv is [2, 16], which is not queries, keys and values of 2 kv heads of 4");
  expect_error(rope(positions, q, k, k), "[rope] k must not overlap v");
  expect_error(rope(positions, qkv.rows(0, 1).reshaped({2, 2, 4}), k, v),
               "[rope] q must not overlap qkv");
  expect_error(rope(positions, q, {}, v), "[rope] k is not given");
  expect_error(
      [&] {
        ops::rope_table(10000, t({3, 5}));
      },
      "[rope_table] table must be [positions, dim] of even dim, got [3, 5]");
  expect_error([&] { ops::rope_table(0, table); }, "[rope_table] base must be positive, got 0");
}

TEST(OpErrors, Embedding) {
  Memory t;
  const Tensor table = t({3, 4}), out = t({2, 4});
  const auto embedding = [=](Tensor ids) {
    return [=] { ops::embedding(kCpuStream, ids, table, 1, {}, out); };
  };
  expect_error(embedding(t.integers({0, 3})), "[embedding] ids[1] must be in [0, 3), got 3");
  expect_error(embedding(t.integers({-1, 0})), "[embedding] ids[0] must be in [0, 3), got -1");
  expect_error(embedding(t({2})), "[embedding] ids must be i32, got f32");
  expect_error(embedding(t.integers({0, 1, 2})), "[embedding] out must be [3, 4], got [2, 4]");
}

TEST(OpErrors, TheRest) {
  Memory t;
  expect_error([&] { ops::silu(kCpuStream, t({2}), t({3})); }, "[silu] out must be [2], got [3]");
  expect_error([&] { ops::gelu(kCpuStream, t({2}), t({2}, kBf16)); },
               "[gelu] out must be f32, got bf16");
  expect_error([&] { ops::time_embedding(1, 4e-3, 4, t({5})); },
               "[time_embedding] out must be [dim] of even dim, at least 4, got [5]");
  expect_error([&] { ops::time_embedding(1, 0, 4, t({4})); },
               "[time_embedding] periods must be positive, got 0 and 4");
  expect_error(
      [&] {
        ops::euler_step(kCpuStream, t({2, 3}), t({3, 2}), 1);
      },
      "[euler_step] velocity must be [2, 3], got [3, 2]");
  expect_error([&] { ops::normal_noise(kCpuStream, 1, 0, 1, t({2}, kI32)); },
               "[normal_noise] out must be f32, bf16 or f16, got i32");
}

TEST(OpErrors, NormOutputs) {
  Memory t;
  const Tensor x = t({2, 4}), weight = t({65, 4}), out = t({2, 65});
  const auto gemm = [=](ops::NormOutputs next) {
    return [=] { ops::gemm(kCpuStream, x, weight, {.next = next}, out); };
  };
  const Tensor scale = t({65}), scaled = t({2, 65}), squares = t({2, 2});
  expect_error(gemm({.scale = scale}), "[gemm] next.scaled is not given");
  expect_error(gemm({t({64}), scaled, squares}), "[gemm] next.scale must be [65], got [64]");
  expect_error(gemm({scale, out, squares}), "[gemm] next.scaled must not overlap out");
  expect_error(gemm({scale, scaled, t({2, 1})}),
               "[gemm] next.squares must be [2, parts] with parts >= 2, got [2, 1]");
  const ops::RowNorm other_rows{.squares = t({3, 2}), .eps = 1e-6f};
  expect_error([=] { ops::gemm(kCpuStream, x, weight, {.norm = other_rows}, out); },
               "[gemm] norm.squares must be [2, parts], got [3, 2]");
}

TEST(OpErrors, Quantize) {
  Memory t;
  const Tensor x = t({2, 130}), values = t({2, 130}, kE4m3), scales = t({2, 2});
  const auto quantize = [](Tensor a, const ops::ScaledMatrix& o) {
    return [=] { ops::quantize(kCpuStream, a, o); };
  };
  expect_error(quantize({}, {values, scales}), "[quantize] x is not given");
  expect_error(quantize(t({4}), {values, scales}), "[quantize] x must be [rows, columns], got [4]");
  expect_error(quantize(t({2, 4}, kI32), {values, scales}),
               "[quantize] x must be f32, bf16 or f16, got i32");
  expect_error(quantize(values, {values, scales}),
               "[quantize] x must be f32, bf16 or f16, got e4m3");
  expect_error(quantize(x, {}), "[quantize] out is not given");
  expect_error(quantize(x, values), "[quantize] out.scales is not given");
  expect_error(quantize(x, {t({2, 131}, kE4m3), scales}),
               "[quantize] out must be [2, 130], got [2, 131]");
  expect_error(quantize(x, {t({2, 130}, kBf16), scales}), "[quantize] out must be e4m3, got bf16");
  expect_error(quantize(x, {values, t({3, 2})}),
               "[quantize] out.scales must be [1, 2] or [2, 2], got [3, 2]");
  expect_error(quantize(x, {values, t({2})}),
               "[quantize] out.scales must be [1, 2] or [2, 2], got [2]");
  expect_error(quantize(x, {values, t({1, 2}, kBf16)}),
               "[quantize] out.scales must be f32, got bf16");
  expect_error(quantize(x, {values, t({1, 2}, DType::kF32, kCuda)}),
               "[quantize] out.scales is on cuda, the stream runs on cpu");
  Tensor inside = values;
  inside.data = x.data;
  expect_error(quantize(x, {inside, scales}), "[quantize] out must not overlap x");
}

TEST(OpErrors, ScaledOperands) {
  Memory t;
  const Tensor x = t({2, 4}), weight = t({3, 4}), out = t({2, 3});
  const Tensor x8 = t({2, 4}, kE4m3), weight8 = t({3, 4}, kE4m3), out8 = t({2, 3}, kE4m3);
  const Tensor one_row = t({1, 2}), scales = t({1, 3});
  const auto gemm = [=](const ops::ScaledMatrix& a, const ops::ScaledMatrix& w,
                        const ops::ScaledMatrix& quantized = {}) {
    return [=] { ops::gemm(kCpuStream, a, w, {.quantized = quantized}, out); };
  };
  expect_error(gemm(x8, weight), "[gemm] x.scales is not given");
  expect_error(gemm(x, weight8), "[gemm] weight.scales is not given");
  expect_error(gemm({x, one_row}, weight), "[gemm] x must be e4m3 to have scales, got f32");
  expect_error(gemm(x, {weight, scales}), "[gemm] weight must be e4m3 to have scales, got f32");
  expect_error(gemm({x8, scales}, weight), "[gemm] x.scales must be [1, 2] or [1, 2], got [1, 3]");
  expect_error(gemm(x, {weight8, t({3, 1})}),
               "[gemm] weight.scales must be [1, 3] or [1, 3], got [3, 1]");
  expect_error(gemm({x8, t({1, 2}, kBf16)}, weight), "[gemm] x.scales must be f32, got bf16");
  expect_error(gemm(x, weight, out8), "[gemm] quantized.scales is not given");
  expect_error(gemm(x, weight, {{}, one_row}), "[gemm] quantized is not given");
  expect_error(gemm(x, weight, {t({2, 3}), one_row}), "[gemm] quantized must be e4m3, got f32");
  expect_error(gemm(x, weight, {x8, one_row}), "[gemm] quantized must be [2, 3], got [2, 4]");
  expect_error(gemm(x, weight, {out8, scales}),
               "[gemm] quantized.scales must be [1, 2] or [1, 2], got [1, 3]");
  expect_error([=] { ops::gemm(kCpuStream, x, weight, {}, out8); },
               "[gemm] out must be f32, bf16 or f16, got e4m3");
  const Tensor wide = t({3, 129}, kE4m3), wide_x = t({2, 129}), two_by_three = t({2, 3});
  expect_error(
      [=] {
        ops::gemm(kCpuStream, wide_x, {wide, two_by_three}, {}, out);
      },
      "[gemm] weight.scales must be [1, 3], got [2, 3]");

  const Tensor factors = t({129});
  const auto rms_norm = [=](const ops::ScaledMatrix& o) {
    return [=] { ops::rms_norm(kCpuStream, wide_x, factors, {}, 1e-6f, o); };
  };
  const Tensor wide_out = t({2, 129}, kE4m3);
  expect_error(rms_norm(wide_out), "[rms_norm] out.scales is not given");
  expect_error(rms_norm({wide_out, t({2, 2})}), "[rms_norm] out.scales must be [1, 2], got [2, 2]");
  expect_error(rms_norm({t({2, 129}, kBf16), one_row}),
               "[rms_norm] out must be e4m3 to have scales, got bf16");

  const Tensor q = t({2, 1, 3}), k = t({4, 1, 3});
  const auto attention = [=](const ops::ScaledMatrix& quantized) {
    return [=] { ops::attention(kCpuStream, q, k, k, {}, 1, out, quantized); };
  };
  expect_error(attention(out8), "[attention] quantized.scales is not given");
  expect_error(attention({x, one_row}), "[attention] quantized must be [2, 3], got [2, 4]");
  expect_error(attention({t({2, 3}), one_row}), "[attention] quantized must be e4m3, got f32");
}

TEST(OpErrors, ScaledProjection) {
  Memory t;
  const Tensor qkv = t({2, 16}), table = t({3, 4}), positions = t.integers({0, 1});
  const Tensor q = t({2, 2, 4}), k = t({2, 1, 4}), v = t({2, 1, 4});
  const auto project = [=](const ops::ScaledMatrix& x, const ops::ScaledMatrix& weight) {
    return [=] { ops::project_qkv(kCpuStream, x, weight, {}, {}, positions, table, qkv, q, k, v); };
  };
  const Tensor x = t({2, 5}), weight = t({16, 5});
  const Tensor x8 = t({2, 5}, kE4m3), weight8 = t({16, 5}, kE4m3);
  expect_error(project(x8, weight), "[gemm] x.scales is not given");
  expect_error(project(x, weight8), "[gemm] weight.scales is not given");
  expect_error(project({x, t({1, 2})}, weight), "[gemm] x must be e4m3 to have scales, got f32");
  expect_error(project(x, {weight8, t({1, 15})}),
               "[gemm] weight.scales must be [1, 16] or [1, 16], got [1, 15]");
}

TEST(OpErrors, PatchEmbedding) {
  Memory t;
  const Tensor weight = t({5, 12}), bias = t({5}), position = t({4, 5});
  const Tensor patches = t({1, 4, 12}), out = t({1, 4, 5});
  const auto embed = [=](Tensor pixels, Tensor scratch) {
    return [=] { ops::patch_embedding(kCpuStream, pixels, weight, bias, position, scratch, out); };
  };
  expect_error(
      embed(t({1, 3, 5, 5}), patches),
      "[patch_embedding] the 4 tokens of position must be a square grid over the size, got "
      "5");
  expect_error(embed(t({1, 3, 4, 6}), patches),
               "[patch_embedding] pixels must be [views, 3, size, size], got [1, 3, 4, 6]");
  const Tensor pixels = t({1, 3, 4, 4});
  expect_error(embed(pixels, t({1, 4, 12}, kI32)),
               "[patch_embedding] patches must be f32, bf16 or f16, got i32");
  expect_error(embed(pixels, t({1, 4, 13})),
               "[patch_embedding] patches must be [1, 4, 12], got [1, 4, 13]");
  const auto narrow = [=] {
    ops::patch_embedding(kCpuStream, pixels, weight.rows(0, 5).reshaped({6, 10}), bias, position,
                         patches, out);
  };
  expect_error(narrow,
               "[patch_embedding] weight must have a column for each of the 12 numbers of a patch, "
               "got 10");
  expect_error(embed(pixels, pixels.reshaped({1, 4, 12})),
               "[patch_embedding] patches must not overlap pixels");
}

}  // namespace
}  // namespace saccade::testing
