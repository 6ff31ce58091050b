// One CTA per row; a thread rotates kWidth neighbours of the lower half of a head with those of the
// upper half.

#include <algorithm>

#include "cuda/launch.h"
#include "ops/device_elements.cuh"
#include "ops/rope/rope.h"

namespace saccade::ops::detail {
namespace {

constexpr int kMaxThreads = 256;

template <typename T, int kWidth>
struct alignas(kWidth * sizeof(T)) Vector {
  T at[kWidth];
};

/// A head's kWidth elements from `lower` on, and those from `lower + half` on.
template <typename T, int kWidth>
__device__ void rotate(const T* lower, int half, const float* cosines, T* out) {
  using Elements = Vector<T, kWidth>;
  using Angles = Vector<float, kWidth>;
  const Elements a = *reinterpret_cast<const Elements*>(lower);
  const Elements b = *reinterpret_cast<const Elements*>(lower + half);
  const Angles cosine = *reinterpret_cast<const Angles*>(cosines);
  const Angles sine = *reinterpret_cast<const Angles*>(cosines + half);
  Elements rotated_a, rotated_b;
#pragma unroll
  for (int i = 0; i < kWidth; ++i) {
    const float x = float(a.at[i]);
    const float y = float(b.at[i]);
    rotated_a.at[i] = from_f32<T>(x * cosine.at[i] - y * sine.at[i]);
    rotated_b.at[i] = from_f32<T>(y * cosine.at[i] + x * sine.at[i]);
  }
  *reinterpret_cast<Elements*>(out) = rotated_a;
  *reinterpret_cast<Elements*>(out + half) = rotated_b;
}

template <typename T, int kWidth>
__device__ void copy(const T* from, T* out) {
  using Elements = Vector<T, kWidth>;
  *reinterpret_cast<Elements*>(out) = *reinterpret_cast<const Elements*>(from);
}

template <typename T, int kWidth>
__global__ __launch_bounds__(kMaxThreads) void rope_kernel(const __grid_constant__ RopeParams p) {
  cuda::allow_next();
  cuda::wait_for_previous();
  const std::int64_t row = blockIdx.x;
  const std::int64_t position = p.positions[row];
  const int half = p.head_dim / 2;
  const int chunks = half / kWidth;
  const int first_value = p.heads + p.kv_heads;
  const int heads = p.heads + 2 * p.kv_heads;
  const int first = p.q ? 0 : p.heads;
  for (int item = first * chunks + int(threadIdx.x); item < heads * chunks; item += blockDim.x) {
    const int head = item / chunks;
    const int i = item % chunks * kWidth;
    const T* from = static_cast<const T*>(p.qkv) + (row * heads + head) * p.head_dim + i;
    const float* cosines = p.table + position * p.head_dim + i;
    if (head >= first_value) {
      T* out = static_cast<T*>(p.v) + (position * p.kv_heads + head - first_value) * p.head_dim + i;
      copy<T, kWidth>(from, out);
      copy<T, kWidth>(from + half, out + half);
    } else if (head >= p.heads) {
      T* out = static_cast<T*>(p.k) + (position * p.kv_heads + head - p.heads) * p.head_dim + i;
      rotate<T, kWidth>(from, half, cosines, out);
    } else {
      T* out = static_cast<T*>(p.q) + (row * p.heads + head) * p.head_dim + i;
      rotate<T, kWidth>(from, half, cosines, out);
    }
  }
}

template <int kWidth>
auto kernel_for(DType dtype) {
  if (dtype == DType::kF32) return rope_kernel<float, kWidth>;
  return dtype == DType::kF16 ? rope_kernel<__half, kWidth> : rope_kernel<__nv_bfloat16, kWidth>;
}

}  // namespace

void rope_cuda(const RopeParams& p, cudaStream_t stream) {
  const int half = p.head_dim / 2;
  const bool wide = half % 4 == 0;
  const int items = (p.heads + 2 * p.kv_heads) * half / (wide ? 4 : 1);
  const int threads = std::min((items + 31) / 32 * 32, kMaxThreads);
  const cuda::Launch config{
      .grid = dim3(p.rows), .block = dim3(threads), .order = cuda::Order::kOverlap};
  cuda::launch(wide ? kernel_for<4>(p.dtype) : kernel_for<1>(p.dtype), config, stream, p);
}

}  // namespace saccade::ops::detail
