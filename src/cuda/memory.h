#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "cuda/launch.h"

namespace saccade::cuda {

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
    SACCADE_CUDA_CHECK(cudaDeviceSynchronize());  // the copy may return before it has arrived
  }
  void download(void* to) const {
    SACCADE_CUDA_CHECK(cudaMemcpy(to, data_, bytes_, cudaMemcpyDeviceToHost));
  }

 private:
  void* data_ = nullptr;
  std::size_t bytes_;
};

}  // namespace saccade::cuda
