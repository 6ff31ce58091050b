// Frames and tensors in GPU memory, through the C interface. Without a GPU these are skipped.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "cuda/device.h"
#include "tensors.h"

namespace saccade {
namespace {

/// A copy in the memory of the GPU.
class OnGpu {
 public:
  template <typename T>
  explicit OnGpu(const std::vector<T>& host) : bytes_(host.size() * sizeof(T)) {
    memory_ = cuda::allocate(bytes_);
    cuda::upload(cuda::borrowed_stream(nullptr), host.data(), memory_.get(), bytes_);
  }

  template <typename T>
  std::vector<T> download() const {
    std::vector<T> host(bytes_ / sizeof(T));
    cuda::download(cuda::borrowed_stream(nullptr), memory_.get(), host.data(), bytes_);
    return host;
  }

  void* data() const { return memory_.get(); }
  const std::uint8_t* pixels() const { return static_cast<const std::uint8_t*>(data()); }
  std::size_t bytes() const { return bytes_; }

 private:
  std::size_t bytes_;
  std::shared_ptr<void> memory_;
};

class CapiGpuTest : public CapiTest {
 protected:
  void SetUp() override {
    if (!cuda::device_is_there()) GTEST_SKIP() << "needs a GPU";
    CapiTest::SetUp();
    const saccade_option options[] = {{"device", "cuda"}, {"tokenizer", kTokenizer.c_str()}};
    ASSERT_EQ(saccade_load(checkpoint().c_str(), options, 2, &gpu_policy_), SACCADE_OK)
        << saccade_error_message();
  }
  void TearDown() override { saccade_free(gpu_policy_); }

  std::vector<float> infer_on_gpu() {
    std::fill(values_.begin(), values_.end(), NAN);
    EXPECT_EQ(saccade_infer(gpu_policy_, &client_.observation, &client_.chunk), SACCADE_OK)
        << saccade_error_message();
    return values_;
  }

  void give(saccade_frame& frame, const OnGpu& pixels, std::int64_t row_stride = 0) {
    frame.pixels = pixels.pixels();
    frame.memory = SACCADE_DEVICE_MEMORY;
    frame.row_stride = row_stride;
  }

  saccade_policy* gpu_policy_ = nullptr;
};

TEST_F(CapiGpuTest, FramesInDeviceMemoryGiveTheBitsOfThoseOnTheHost) {
  const std::vector<float> expected = infer_on_gpu();
  const OnGpu front(front_), wrist(wrist_);
  give(client_.frames[0], front);
  EXPECT_TRUE(same_bits(infer_on_gpu(), expected));  // one of each
  give(client_.frames[1], wrist);
  EXPECT_TRUE(same_bits(infer_on_gpu(), expected));
  give(client_.frames[0], wrist);
  EXPECT_FALSE(same_bits(infer_on_gpu(), expected));
}

TEST_F(CapiGpuTest, RowsMayHaveGapsInEitherMemory) {
  const std::vector<float> expected = infer_on_gpu();
  constexpr std::size_t kRow = 64 * 3;
  constexpr std::size_t kStride = kRow + 7;
  std::vector<std::uint8_t> gaps(48 * kStride, 255);
  for (std::size_t y = 0; y < 48; ++y) {
    std::copy_n(front_.data() + y * kRow, kRow, gaps.data() + y * kStride);
  }
  client_.frames[0].pixels = gaps.data();
  client_.frames[0].row_stride = kStride;
  EXPECT_TRUE(same_bits(infer_on_gpu(), expected));
  const OnGpu on_gpu(gaps);
  give(client_.frames[0], on_gpu, kStride);
  EXPECT_TRUE(same_bits(infer_on_gpu(), expected));
}

TEST_F(CapiGpuTest, FramesAreReadBehindTheWorkOfTheirStream) {
  const std::vector<float> expected = infer_on_gpu();
  const std::shared_ptr<const Stream> other = cuda::open_stream();
  const Stream legacy = cuda::borrowed_stream(nullptr);
  const Stream own = cuda::borrowed_stream(static_cast<CUstream_st*>(saccade_stream(gpu_policy_)));
  ASSERT_NE(own.handle, nullptr);
  // Copies from the GPU, for the policy's own go to it: those would wait for each other.
  constexpr std::size_t kSlowBytes = std::size_t{64} << 20;
  const std::shared_ptr<void> slow_from = cuda::allocate(kSlowBytes);
  const std::shared_ptr<void> slow_to = cuda::allocate_pinned(kSlowBytes);
  const std::shared_ptr<void> pinned = cuda::allocate_pinned(front_.size());
  std::memcpy(pinned.get(), front_.data(), front_.size());
  for (const Stream& writer : {*other, legacy, own}) {
    const OnGpu late(std::vector<std::uint8_t>(front_.size(), 0));
    give(client_.frames[0], late);
    client_.observation.stream = writer.handle;
    for (int i = 0; i < 20; ++i) {
      cuda::enqueue_download(writer, slow_from.get(), slow_to.get(), kSlowBytes);
    }
    cuda::enqueue_upload(writer, pinned.get(), late.data(), front_.size());
    EXPECT_TRUE(same_bits(infer_on_gpu(), expected));
  }
}

TEST_F(CapiGpuTest, AFrameThatIsNotOnTheGpuIsRefused) {
  client_.frames[0].memory = SACCADE_DEVICE_MEMORY;
  EXPECT_EQ(saccade_infer(gpu_policy_, &client_.observation, &client_.chunk),
            SACCADE_INVALID_ARGUMENT);
  expect_message({"camera 'front' is said to be in GPU memory", "not in that of the policy's GPU"});
}

TEST_F(CapiGpuTest, OpsTakeTensorsOfTheGpuAndRefuseOthers) {
  constexpr int kRows = 5, kDim = 96;
  const std::vector<float> x = normals(kRows * kDim, 1), weight = normals(kDim, 2);
  std::vector<float> want(x.size());
  const saccade_tensor hx = window(x.data(), {kRows, kDim}), hw = window(weight.data(), {kDim});
  const saccade_tensor hout = window(want.data(), {kRows, kDim});
  ASSERT_EQ(saccade_ops_rms_norm(&hx, &hw, nullptr, 0.1f, &hout, nullptr), SACCADE_OK);

  const OnGpu gx(x), gw(weight), gout(std::vector<float>(x.size(), NAN));
  const auto device = [](const void* data, std::initializer_list<std::int64_t> shape) {
    return window(data, shape, SACCADE_F32, SACCADE_DEVICE_MEMORY);
  };
  const saccade_tensor dx = device(gx.data(), {kRows, kDim}), dw = device(gw.data(), {kDim});
  const saccade_tensor dout = device(gout.data(), {kRows, kDim});
  const std::shared_ptr<const Stream> stream = cuda::open_stream();
  ASSERT_EQ(saccade_ops_rms_norm(&dx, &dw, nullptr, 0.1f, &dout, stream->handle), SACCADE_OK)
      << saccade_error_message();
  cuda::synchronize(*stream);
  const std::vector<float> out = gout.download<float>();
  for (std::size_t i = 0; i < out.size(); ++i) {
    EXPECT_NEAR(out[i], want[i], 2e-6 * std::max(1.0f, std::abs(want[i]))) << i;
  }

  const auto refused = [&](const saccade_tensor& w, std::initializer_list<const char*> parts) {
    EXPECT_EQ(saccade_ops_rms_norm(&dx, &w, nullptr, 0.1f, &dout, stream->handle),
              SACCADE_INVALID_ARGUMENT);
    expect_message(parts);
  };
  refused(hw, {"[rms_norm] weight is in host memory, the op's first tensor is not"});
  refused(device(weight.data(), {kDim}), {"weight is said to be in device memory"});
  refused(device(static_cast<char*>(gw.data()) + 4, {kDim}), {"weight", "multiple of 16 bytes"});
}

/// A policy's kernels read weights before the kernel in front has finished; here that kernel, which
/// lets the next one start early, is what writes them.
TEST_F(CapiGpuTest, AnOpSeesWhatTheOpInFrontWrites) {
  constexpr int kRows = 128, kDim = 4096;
  constexpr std::size_t kCount = std::size_t{kDim} * kDim;
  const OnGpu source(normals(kCount, 1)), ones(std::vector<float>(kDim, 1));
  const std::vector<std::uint16_t> zeros(kCount);
  const OnGpu weight(zeros), x(zeros);
  const OnGpu out(std::vector<float>(kRows * kDim));
  const auto device = [](const OnGpu& memory, std::initializer_list<std::int64_t> shape,
                         std::int32_t dtype) {
    return window(memory.data(), shape, dtype, SACCADE_DEVICE_MEMORY);
  };
  const saccade_tensor from = device(source, {kDim, kDim}, SACCADE_F32);
  const saccade_tensor scale = device(ones, {kDim}, SACCADE_F32);
  const saccade_tensor square = device(weight, {kDim, kDim}, SACCADE_BF16);
  const saccade_tensor rows = device(x, {kRows, kDim}, SACCADE_BF16);
  const saccade_tensor all_rows = device(x, {kDim, kDim}, SACCADE_BF16);
  const saccade_tensor product = device(out, {kRows, kDim}, SACCADE_F32);
  const Stream stream = cuda::borrowed_stream(nullptr);
  const auto norm_into = [&](const saccade_tensor& to) {
    EXPECT_EQ(saccade_ops_rms_norm(&from, &scale, nullptr, 0, &to, nullptr), SACCADE_OK)
        << saccade_error_message();
  };
  const auto run = [&](bool waits) {
    cuda::upload(stream, zeros.data(), weight.data(), weight.bytes());
    norm_into(square);
    if (waits) cuda::synchronize(stream);
    EXPECT_EQ(saccade_ops_linear(&rows, nullptr, &square, nullptr, nullptr, SACCADE_ACTIVATION_NONE,
                                 &product, nullptr),
              SACCADE_OK)
        << saccade_error_message();
    cuda::synchronize(stream);
    return out.download<float>();
  };
  norm_into(all_rows);
  const std::vector<float> expected = run(true);
  EXPECT_NEAR(expected[0], kDim, 0.02 * kDim);  // a row's product with itself
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(same_bits(run(false), expected));
}

}  // namespace
}  // namespace saccade
