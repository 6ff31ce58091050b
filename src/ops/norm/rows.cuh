#pragma once

#include "ops/device_elements.cuh"
#include "ops/quantize/quantize.cuh"

// Rows of a matrix, each shared by kThreads neighbouring threads. A kernel is written once against
// HeldRow or LoopedRow: both name a thread's elements by slots, which only they can turn into
// columns, and load operands of any type as f32.
namespace saccade::ops::detail {

/// Calls f.operator()<T>() with the element type of an operand.
template <typename F>
__device__ void visit_element_type(DType dtype, F f) {
  if (dtype == DType::kF32) {
    f.template operator()<float>();
  } else if (dtype == DType::kF16) {
    f.template operator()<__half>();
  } else {
    f.template operator()<__nv_bfloat16>();
  }
}

template <int kThreads>
struct RowOfThreads {
  static_assert(kThreads % 32 == 0);

  int dim;
  int lane = int(threadIdx.x) % kThreads;
  int index = int(blockIdx.x * (blockDim.x / kThreads) + threadIdx.x / kThreads);

  explicit __device__ RowOfThreads(int row_dim) : dim(row_dim) {}

  std::int64_t __device__ first() const { return std::int64_t(index) * dim; }

  /// The largest magnitude over the row's threads, for all of them. Once in a kernel.
  __device__ float largest(float value) const {
    value = largest_of_lanes(value);
    if constexpr (kThreads > 32) {
      __shared__ float partial[kThreads / 32];
      if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
      __syncthreads();
      for (float warp : partial) value = larger_magnitude(value, warp);
    }
    return value;
  }

  /// The sum over the row's threads, in a fixed order, for all of them. A row of more than a warp
  /// has the CTA to itself.
  __device__ float total(float value) const {
    for (int lanes = 16; lanes > 0; lanes /= 2) value += __shfl_xor_sync(~0u, value, lanes);
    if constexpr (kThreads > 32) {
      __shared__ float partial[kThreads / 32];
      if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
      __syncthreads();
      value = 0;
      for (float warp : partial) value += warp;
      __syncthreads();
    }
    return value;
  }
};

/// A row in registers, loaded and stored by four elements: at most kMaxDim, a multiple of four.
template <int kThreads, int kVectors>
struct HeldRow : RowOfThreads<kThreads> {
  static constexpr int kWidth = 4;
  static constexpr int kMaxDim = kThreads * kVectors * kWidth;
  static bool takes(int dim) { return dim % kWidth == 0 && dim <= kMaxDim; }

  using RowOfThreads<kThreads>::RowOfThreads;

  template <typename T>
  struct alignas(kWidth * sizeof(T)) Vector {
    T at[kWidth];
  };
  struct Values {
    float at[kVectors * kWidth];
    __device__ float operator[](int slot) const { return at[slot]; }
  };

  __device__ int column(int vector) const { return (vector * kThreads + this->lane) * kWidth; }

  /// The row that starts at element `first` of data.
  __device__ Values load(const void* data, DType dtype, std::int64_t first) const {
    Values values;
    visit_element_type(dtype, [&]<typename T>() {
      const T* row = static_cast<const T*>(data) + first;
      Vector<T> raw[kVectors];
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        if (column(v) < this->dim) raw[v] = *reinterpret_cast<const Vector<T>*>(row + column(v));
      }
#pragma unroll
      for (int slot = 0; slot < kVectors * kWidth; ++slot) {
        if (column(slot / kWidth) < this->dim) {
          values.at[slot] = float(raw[slot / kWidth].at[slot % kWidth]);
        }
      }
    });
    return values;
  }

  template <typename F>
  __device__ void visit(F f) const {
#pragma unroll
    for (int slot = 0; slot < kVectors * kWidth; ++slot) {
      if (column(slot / kWidth) < this->dim) f(slot);
    }
  }

  /// out[first + column of slot] = f(slot)
  template <typename F>
  __device__ void store(void* out, DType dtype, std::int64_t first, F f) const {
    visit_element_type(dtype, [&]<typename T>() {
      T* row = static_cast<T*>(out) + first;
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        if (column(v) >= this->dim) continue;
        Vector<T> rounded;
#pragma unroll
        for (int i = 0; i < kWidth; ++i) rounded.at[i] = from_f32<T>(f(v * kWidth + i));
        *reinterpret_cast<Vector<T>*>(row + column(v)) = rounded;
      }
    });
  }

  /// The same in e4m3.
  template <typename F>
  __device__ void store_scaled(void* out, std::int64_t first, F f) const {
    auto* row = static_cast<std::uint8_t*>(out) + first;
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
      if (column(v) >= this->dim) continue;
      float values[kWidth];
#pragma unroll
      for (int i = 0; i < kWidth; ++i) values[i] = f(v * kWidth + i);
      store_e4m3(row + column(v), values);
    }
  }
};

/// A row of any dim, read anew for every use; a slot is a column.
template <int kThreads>
struct LoopedRow : RowOfThreads<kThreads> {
  using RowOfThreads<kThreads>::RowOfThreads;

  struct Values {
    const void* data;
    DType dtype;
    std::int64_t first;
    __device__ float operator[](int slot) const { return load_element(data, dtype, first + slot); }
  };

  __device__ Values load(const void* data, DType dtype, std::int64_t first) const {
    return {data, dtype, first};
  }

  template <typename F>
  __device__ void visit(F f) const {
    for (int slot = this->lane; slot < this->dim; slot += kThreads) f(slot);
  }

  template <typename F>
  __device__ void store(void* out, DType dtype, std::int64_t first, F f) const {
    visit([&](int slot) { store_element(out, dtype, first + slot, f(slot)); });
  }

  template <typename F>
  __device__ void store_scaled(void* out, std::int64_t first, F f) const {
    store(out, DType::kE4m3, first, f);
  }
};

}  // namespace saccade::ops::detail
