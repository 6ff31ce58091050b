// The cases of every op that has a kernel, on the device.

#include <gtest/gtest.h>

#include <memory>

#include "cuda/device.h"
#include "cuda/memory.h"
#include "ops/op_check.h"

namespace saccade::testing {

void PrintTo(const OpCase& op, std::ostream* out) { *out << op.name; }

namespace {

/// A tensor's copy on the device. Outputs are copied there too, so that their poison and what
/// lies behind them stay visible.
struct DeviceTensor {
  explicit DeviceTensor(const Tensor& host)
      : buffer(host.bytes()), tensor{buffer.data(), host.shape, host.dtype, Device::kCuda} {
    buffer.upload(host.data);
  }
  cuda::Buffer buffer;
  Tensor tensor;
};

std::vector<std::unique_ptr<DeviceTensor>> upload(const std::vector<Tensor>& host) {
  std::vector<std::unique_ptr<DeviceTensor>> device;
  for (const Tensor& tensor : host) device.push_back(std::make_unique<DeviceTensor>(tensor));
  return device;
}

std::vector<Tensor> tensors_of(const std::vector<std::unique_ptr<DeviceTensor>>& device) {
  std::vector<Tensor> tensors;
  for (const auto& copy : device) tensors.push_back(copy->tensor);
  return tensors;
}

void run_on_device(const OpCase& op, const std::vector<Tensor>& in,
                   const std::vector<Tensor>& out) {
  const auto device_in = upload(in);
  const auto device_out = upload(out);
  static const std::shared_ptr<const Stream> stream = cuda::open_stream();
  op.run(*stream, tensors_of(device_in), tensors_of(device_out));
  SACCADE_CUDA_CHECK(cudaDeviceSynchronize());
  for (std::size_t i = 0; i < in.size(); ++i) device_in[i]->buffer.download(in[i].data);
  for (std::size_t i = 0; i < out.size(); ++i) device_out[i]->buffer.download(out[i].data);
}

class CudaOpTest : public ::testing::TestWithParam<OpCase> {};

TEST_P(CudaOpTest, MatchesItsDefinition) {
  if (!cuda::device_is_there()) GTEST_SKIP() << "needs a GPU";
  check_case(GetParam(), run_on_device);
}

std::vector<OpCase> device_cases() {
  std::vector<OpCase> cases = all_cases();
  std::erase_if(cases, [](const OpCase& op) { return op.host_only; });
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, CudaOpTest, ::testing::ValuesIn(device_cases()),
                         [](const auto& info) { return test_name(info.param); });

}  // namespace
}  // namespace saccade::testing
