#include "capi/operands.h"

#include <array>
#include <limits>
#include <span>
#include <string>

#include "capi/status.h"
#include "core/check.h"
#include "cuda/device.h"

namespace saccade::capi {
namespace {

/// Kernels read and write by vectors of so many bytes.
constexpr std::uintptr_t kDeviceAlignment = 16;

DType dtype_of(const char* op, const char* name, std::int32_t dtype) {
  switch (dtype) {
    case SACCADE_F32:
      return DType::kF32;
    case SACCADE_BF16:
      return DType::kBf16;
    case SACCADE_F16:
      return DType::kF16;
    case SACCADE_U8:
      return DType::kU8;
    case SACCADE_I32:
      return DType::kI32;
    case SACCADE_E4M3:
      return DType::kE4m3;
    default:
      fail(op, name, ".dtype is ", dtype, ", it must be SACCADE_F32, BF16, F16, U8, I32 or E4M3");
  }
}

Device device_of(const char* op, const char* name, std::int32_t memory) {
  if (memory == SACCADE_HOST_MEMORY) return Device::kCpu;
  if (memory == SACCADE_DEVICE_MEMORY) return Device::kCuda;
  throw NotSupported("[" + std::string(op) + "] " + name + ".memory is " + std::to_string(memory) +
                     ", this version knows host memory and device memory");
}

Shape shape_of(const char* op, const char* name, const saccade_tensor& given) {
  constexpr std::int64_t kMost = std::numeric_limits<int>::max();
  std::array<int, 4> extents{};
  SACCADE_CHECK(given.rank >= 1 && given.rank <= int(extents.size()), op, name, ".rank is ",
                given.rank, ", it must be from 1 to ", extents.size());
  std::int64_t size = 1;
  for (std::size_t axis = 0; axis < std::size_t(given.rank); ++axis) {
    const std::int64_t extent = given.shape[axis];
    SACCADE_CHECK(extent >= 1 && extent <= kMost / size, op, name, ".shape[", axis, "] is ", extent,
                  ", extents must be at least 1 and hold at most ", kMost, " elements in all");
    size *= extent;
    extents[axis] = int(extent);
  }
  return Shape(std::span(extents).first(std::size_t(given.rank)));
}

void check_address(const char* op, const char* name, const Tensor& tensor) {
  const bool on_gpu = tensor.device == Device::kCuda;
  const std::uintptr_t alignment = on_gpu ? kDeviceAlignment : size_of(tensor.dtype);
  SACCADE_CHECK(reinterpret_cast<std::uintptr_t>(tensor.data) % alignment == 0, op, name,
                " must begin at a multiple of ", alignment, " bytes");
  SACCADE_CHECK(!on_gpu || cuda::is_device_memory(tensor.data), op, name,
                " is said to be in device memory, its data is not in that of the current device");
}

Stream stream_of(const char* op, const char* name, const saccade_tensor* first, void* stream) {
  SACCADE_CHECK(first != nullptr, op, name, " must not be NULL");
  if (device_of(op, name, first->memory) == Device::kCuda) {
    return cuda::borrowed_stream(static_cast<CUstream_st*>(stream));
  }
  SACCADE_CHECK(stream == nullptr, op, "stream is given, ", name, " is in host memory");
  return {};
}

}  // namespace

Operands::Operands(const char* op, const char* first_name, const saccade_tensor* first,
                   void* stream)
    : op_(op), stream_(stream_of(op, first_name, first, stream)), first_(take(first_name, first)) {
  if (stream_.device == Device::kCuda) order_.emplace();
}

Tensor Operands::take(const char* name, const saccade_tensor* given) const {
  SACCADE_CHECK(given != nullptr, op_, name, " must not be NULL");
  SACCADE_CHECK(given->reserved == 0, op_, name, ".reserved must be 0");
  SACCADE_CHECK(given->data != nullptr, op_, name, ".data must not be NULL");
  const Tensor tensor{given->data, shape_of(op_, name, *given), dtype_of(op_, name, given->dtype),
                      device_of(op_, name, given->memory)};
  SACCADE_CHECK(tensor.device == stream_.device, op_, name, " is in ",
                tensor.device == Device::kCpu ? "host" : "device",
                " memory, the op's first tensor is not");
  check_address(op_, name, tensor);
  return tensor;
}

Tensor Operands::take_optional(const char* name, const saccade_tensor* given) const {
  return given == nullptr ? Tensor{} : take(name, given);
}

}  // namespace saccade::capi
