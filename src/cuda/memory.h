#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "cuda/launch.h"

namespace saccade::cuda {

/// Whether this process can run kernels.
inline bool device_is_there() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

/// Memory of the device.
class Buffer {
 public:
  explicit Buffer(std::size_t bytes) : bytes_(bytes) {
    SACCADE_CUDA_CHECK(cudaMalloc(&data_, bytes));
  }
  ~Buffer() { cudaFree(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void* data() const { return data_; }
  void upload(const void* from) const {
    SACCADE_CUDA_CHECK(cudaMemcpy(data_, from, bytes_, cudaMemcpyHostToDevice));
  }
  void download(void* to) const {
    SACCADE_CUDA_CHECK(cudaMemcpy(to, data_, bytes_, cudaMemcpyDeviceToHost));
  }

 private:
  void* data_ = nullptr;
  std::size_t bytes_;
};

}  // namespace saccade::cuda
