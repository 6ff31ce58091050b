// The ops of the C interface: each is the op of saccade/ops of its name, and names what is wrong.
// What they compute is checked where the ops are (tests/ops, tests/python/test_ops.py).

#include <cmath>
#include <limits>

#include "saccade/ops/attention.h"
#include "saccade/ops/gemm.h"
#include "saccade/ops/image.h"
#include "saccade/ops/norm.h"
#include "saccade/ops/rope.h"
#include "tensors.h"

namespace saccade {
namespace {

class CapiOpsTest : public ::testing::Test {
 protected:
  static Tensor matrix(std::vector<float>& values, int rows, int columns) {
    return {values.data(), {rows, columns}, DType::kF32, Device::kCpu};
  }

  static void expect_refused(saccade_status status, std::initializer_list<const char*> parts,
                             saccade_status want = SACCADE_INVALID_ARGUMENT) {
    EXPECT_EQ(status, want);
    const std::string message = saccade_error_message();
    for (const char* part : parts) {
      EXPECT_NE(message.find(part), std::string::npos) << part << " is not in: " << message;
    }
  }

  static constexpr int kRows = 3;
  static constexpr int kDim = 8;
  std::vector<float> x_ = normals(kRows * kDim, 1);
  std::vector<float> weight_ = normals(kDim * kDim, 2);
  std::vector<float> bias_ = normals(kDim, 3);
  std::vector<float> out_ = std::vector<float>(kRows * kDim, NAN);
  std::vector<float> want_ = std::vector<float>(kRows * kDim, NAN);
  saccade_tensor x = window(x_.data(), {kRows, kDim});
  saccade_tensor weight = window(weight_.data(), {kDim});
  saccade_tensor bias = window(bias_.data(), {kDim});
  saccade_tensor out = window(out_.data(), {kRows, kDim});
};

TEST_F(CapiOpsTest, NormsAreThoseOfTheCppInterface) {
  const Tensor w{weight_.data(), {kDim}, DType::kF32, Device::kCpu};
  const Tensor b{bias_.data(), {kDim}, DType::kF32, Device::kCpu};
  ops::rms_norm({}, matrix(x_, kRows, kDim), w, b, 0.25f, matrix(want_, kRows, kDim));
  ASSERT_EQ(saccade_ops_rms_norm(&x, &weight, &bias, 0.25f, &out, nullptr), SACCADE_OK);
  EXPECT_TRUE(same_bits(out_, want_));
  ops::rms_norm({}, matrix(x_, kRows, kDim), w, {}, 0.25f, matrix(want_, kRows, kDim));
  EXPECT_FALSE(same_bits(out_, want_));
  ASSERT_EQ(saccade_ops_rms_norm(&x, &weight, nullptr, 0.25f, &out, nullptr), SACCADE_OK);
  EXPECT_TRUE(same_bits(out_, want_));
  ops::layer_norm({}, matrix(x_, kRows, kDim), w, b, 0.25f, matrix(want_, kRows, kDim));
  ASSERT_EQ(saccade_ops_layer_norm(&x, &weight, &bias, 0.25f, &out, nullptr), SACCADE_OK);
  EXPECT_TRUE(same_bits(out_, want_));
}

TEST_F(CapiOpsTest, AProgramInCMultiplies) {
  const saccade_tensor in = client_matrix(x_.data(), kRows, kDim);
  const saccade_tensor square = client_matrix(weight_.data(), kDim, kDim);
  const saccade_tensor to = client_matrix(out_.data(), kRows, kDim);
  ops::GemmEpilogue epilogue;
  epilogue.activation = ops::Activation::kGelu;
  ops::gemm({}, matrix(x_, kRows, kDim), matrix(weight_, kDim, kDim), epilogue,
            matrix(want_, kRows, kDim));
  ASSERT_EQ(client_linear(&in, &square, nullptr, &to), SACCADE_OK) << saccade_error_message();
  EXPECT_TRUE(same_bits(out_, want_));
  epilogue.bias = {bias_.data(), {kDim}, DType::kF32, Device::kCpu};
  ops::gemm({}, matrix(x_, kRows, kDim), matrix(weight_, kDim, kDim), epilogue,
            matrix(want_, kRows, kDim));
  ASSERT_EQ(client_linear(&in, &square, &bias, &to), SACCADE_OK) << saccade_error_message();
  EXPECT_TRUE(same_bits(out_, want_));
}

TEST_F(CapiOpsTest, AttentionRopeAndResizeAreThoseOfTheCppInterface) {
  const Shape heads{kRows, 2, kDim / 2};
  const auto shaped = [&](std::vector<float>& values) {
    return matrix(values, kRows, kDim).reshaped(heads);
  };
  std::vector<float> k = normals(kRows * kDim, 4), v = normals(kRows * kDim, 5);
  std::vector<std::int32_t> visible{1, 3, 2};
  ops::attention({}, shaped(x_), shaped(k), shaped(v),
                 {visible.data(), {kRows}, DType::kI32, Device::kCpu}, 0.5f,
                 matrix(want_, kRows, kDim));
  const auto three = [&](const std::vector<float>& values) {
    return window(values.data(), {kRows, 2, kDim / 2});
  };
  const saccade_tensor q = three(x_), keys = three(k), values = three(v);
  const saccade_tensor seen = window(visible.data(), {kRows}, SACCADE_I32);
  ASSERT_EQ(saccade_ops_attention(&q, &keys, &values, &seen, 0.5f, &out, nullptr), SACCADE_OK);
  EXPECT_TRUE(same_bits(out_, want_));

  std::vector<float> table(std::size_t{4 * 4}), rotated(std::size_t{kRows * 4}, NAN);
  const saccade_tensor angles = window(table.data(), {4, 4});
  ASSERT_EQ(saccade_ops_rope_table(100, &angles), SACCADE_OK);
  std::vector<float> cpp_table(table.size());
  ops::rope_table(100, matrix(cpp_table, 4, 4));
  EXPECT_TRUE(same_bits(table, cpp_table));
  std::vector<float> qkv = normals(kRows * 12, 6);
  std::vector<std::int32_t> positions{3, 0, 2};
  const saccade_tensor merged = window(qkv.data(), {kRows, 12});
  const saccade_tensor at = window(positions.data(), {kRows}, SACCADE_I32);
  const saccade_tensor one = window(rotated.data(), {kRows, 1, 4});
  std::vector<float> cache_k(16, NAN), cache_v(16, NAN);
  const saccade_tensor rk = window(cache_k.data(), {4, 1, 4}),
                       rv = window(cache_v.data(), {4, 1, 4});
  ASSERT_EQ(saccade_ops_rope(&merged, &at, &angles, &one, &rk, &rv, nullptr), SACCADE_OK);
  EXPECT_EQ(rotated[4], qkv[12]);  // position 0 turns nothing
  EXPECT_TRUE(std::isnan(cache_v[4]) && cache_v[12] == qkv[8]);
  const std::vector<float> keys_of_all = cache_k;
  ASSERT_EQ(saccade_ops_rope(&merged, &at, &angles, nullptr, &rk, &rv, nullptr), SACCADE_OK);
  EXPECT_EQ(std::memcmp(keys_of_all.data(), cache_k.data(), 64), 0);

  std::vector<std::uint8_t> frame = picture(1);
  std::vector<float> pixels(3 * 16 * 16), want(pixels.size());
  const saccade_tensor picture = window(frame.data(), {48, 64, 3}, SACCADE_U8);
  const saccade_tensor square = window(pixels.data(), {3, 16, 16});
  for (const auto& [number, filter] :
       {std::pair{SACCADE_FILTER_ANTIALIAS, ops::ResizeFilter::kAntialias},
        {SACCADE_FILTER_BILINEAR, ops::ResizeFilter::kBilinear}}) {
    ops::resize_with_pad({}, {frame.data(), {48, 64, 3}, DType::kU8, Device::kCpu}, filter,
                         {want.data(), {3, 16, 16}, DType::kF32, Device::kCpu});
    ASSERT_EQ(saccade_ops_resize_with_pad(&picture, number, &square, nullptr), SACCADE_OK);
    EXPECT_TRUE(same_bits(pixels, want));
  }
}

TEST_F(CapiOpsTest, EachWrongTensorIsNamed) {
  const auto run = [&] { return saccade_ops_rms_norm(&x, &weight, &bias, 0, &out, nullptr); };
  const auto refused = [&](saccade_tensor& tensor, auto change,
                           std::initializer_list<const char*> parts) {
    const saccade_tensor good = tensor;
    change(tensor);
    expect_refused(run(), parts);
    tensor = good;
  };
  refused(x, [](auto& t) { t.data = nullptr; }, {"[rms_norm] x.data must not be NULL"});
  refused(x, [](auto& t) { t.dtype = 0; }, {"x.dtype is 0", "SACCADE_F32"});
  refused(weight, [](auto& t) { t.dtype = 7; }, {"weight.dtype is 7"});
  refused(x, [](auto& t) { t.rank = 0; }, {"x.rank is 0", "from 1 to 4"});
  refused(out, [](auto& t) { t.rank = 5; }, {"out.rank is 5"});
  refused(x, [](auto& t) { t.shape[0] = 0; }, {"x.shape[0] is 0"});
  refused(x, [](auto& t) { t.shape[1] = -8; }, {"x.shape[1] is -8"});
  refused(x, [](auto& t) { t.shape[0] = std::int64_t{1} << 29; },
          {"x.shape[1] is 8", "2147483647"});
  refused(x, [](auto& t) { t.shape[0] = std::numeric_limits<std::int64_t>::max(); },
          {"x.shape[0]"});
  refused(bias, [](auto& t) { t.reserved = 1; }, {"shift.reserved must be 0"});
  refused(out, [](auto& t) { t.data = static_cast<char*>(t.data) + 2; }, {"out", "multiple of 4"});
  refused(weight, [](auto& t) { t.shape[0] = 7; }, {"weight must be [8], got [7]"});
  refused(out, [](auto& t) { t.dtype = SACCADE_E4M3; }, {"out must be f32, bf16 or f16, got e4m3"});
  refused(weight, [](auto& t) { t.memory = SACCADE_DEVICE_MEMORY; },
          {"weight is in device memory"});
  x.memory = 2;
  expect_refused(run(), {"x.memory is 2"}, SACCADE_NOT_SUPPORTED);
  x.memory = SACCADE_HOST_MEMORY;
  for (const float value : out_) EXPECT_TRUE(std::isnan(value));  // nothing was written
  EXPECT_EQ(run(), SACCADE_OK);
}

TEST_F(CapiOpsTest, EachWrongArgumentIsNamed) {
  const auto norm = [&](const saccade_tensor* in, float eps, void* stream) {
    return saccade_ops_rms_norm(in, &weight, nullptr, eps, &out, stream);
  };
  expect_refused(norm(nullptr, 0, nullptr), {"x must not be NULL"});
  expect_refused(norm(&x, -1, nullptr), {"eps must be finite and not negative, it is -1"});
  expect_refused(norm(&x, NAN, nullptr), {"eps"});
  expect_refused(norm(&x, 0, &x), {"stream is given, x is in host memory"});
  expect_refused(saccade_ops_rms_norm(&x, nullptr, nullptr, 0, &out, nullptr),
                 {"weight must not be NULL"});
  expect_refused(saccade_ops_layer_norm(&x, &weight, &bias, INFINITY, &out, nullptr),
                 {"[layer_norm] eps must be finite"});
  const saccade_tensor square = client_matrix(weight_.data(), kDim, kDim);
  for (const std::int32_t activation : {-1, 4}) {
    expect_refused(
        saccade_ops_linear(&x, nullptr, &square, nullptr, nullptr, activation, &out, nullptr),
        {"[linear] activation is", "from 0 to 3"});
  }
  expect_refused(saccade_ops_linear(&x, nullptr, &square, nullptr, &x, 0, &out, nullptr),
                 {"bias must be [8], got [3, 8]"});
  const saccade_tensor heads = window(x_.data(), {kRows, 2, kDim / 2});
  expect_refused(saccade_ops_attention(&heads, &heads, &heads, nullptr, NAN, &out, nullptr),
                 {"scale must be finite"});
  const saccade_tensor packed = window(x_.data(), {1, 2, 12});
  expect_refused(saccade_ops_attention_packed(&packed, 0, 1, &out, nullptr), {"0 heads"});
  const saccade_tensor frame = window(x_.data(), {4, 8, 3}, SACCADE_U8);
  expect_refused(saccade_ops_resize_with_pad(&frame, 2, &out, nullptr), {"filter is 2"});
  const saccade_tensor odd = window(x_.data(), {1, 3});
  expect_refused(saccade_ops_rope_table(10, &odd), {"table must be", "even"});
  expect_refused(saccade_ops_quantize(&x, &out, &bias, nullptr), {"out must be e4m3, got f32"});
}

TEST_F(CapiOpsTest, TheLayoutOfATensorIsFrozen) {
  static_assert(sizeof(saccade_tensor) == 56 && offsetof(saccade_tensor, memory) == 12);
  static_assert(offsetof(saccade_tensor, shape) == 24);
  static_assert(SACCADE_F32 == 1 && SACCADE_E4M3 == 6 && SACCADE_DEVICE_MEMORY == 1);
}

}  // namespace
}  // namespace saccade
