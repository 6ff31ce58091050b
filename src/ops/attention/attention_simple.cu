// Attention in f32 arithmetic for any types and extents: one warp for each query, no shared memory.
//
// Keys are taken 32 at a time. Their sums are made apart and then added to the rest, so that
// rounding errors do not grow with the number of keys.

#include "cuda/launch.h"
#include "ops/attention/attention.h"
#include "ops/device_elements.cuh"

namespace saccade::ops::detail {
namespace {

constexpr int kWarps = 8;
constexpr int kLanes = 32;
constexpr int kLaneColumns = 8;
constexpr int kColumns = kLanes * kLaneColumns;  // of out that a warp makes

__device__ float warp_sum(float value) {
  for (int lane = kLanes / 2; lane > 0; lane /= 2) value += __shfl_xor_sync(~0u, value, lane);
  return value;
}

__device__ float warp_max(float value) {
  for (int lane = kLanes / 2; lane > 0; lane /= 2) {
    value = fmaxf(value, __shfl_xor_sync(~0u, value, lane));
  }
  return value;
}

/// The query of a warp, and the columns of out that it makes.
struct Task {
  std::int64_t sequence;
  int row;
  int head;
  int first_column;
};

__host__ __device__ std::int64_t tasks_of(const AttentionParams& p) {
  const int parts = (p.head_dim + kColumns - 1) / kColumns;
  return std::int64_t(p.sequences) * p.rows * p.heads * parts;
}

__device__ Task task_of(const AttentionParams& p, std::int64_t index) {
  const int parts = (p.head_dim + kColumns - 1) / kColumns;
  const std::int64_t query = index / parts;
  const std::int64_t row = query / p.heads;
  return {row / p.rows, int(row % p.rows), int(query % p.heads), int(index % parts) * kColumns};
}

/// The logit of key `lane` of a block of keys; -infinity when there are fewer.
template <typename T>
__device__ float logit_of_lane(const AttentionParams& p, const T* q, const T* k, int keys) {
  const int lane = threadIdx.x % kLanes;
  float logit = -INFINITY;
  for (int j = 0; j < keys; ++j) {
    const T* key = k + std::int64_t(j) * p.kv_stride;
    float dot = 0;
    for (int i = lane; i < p.head_dim; i += kLanes) dot += float(q[i]) * float(key[i]);
    dot = warp_sum(dot);
    if (j == lane) logit = p.scale * dot;
  }
  return logit;
}

/// sums = shrink sums + the block's values by their weights; `v` and `columns` start at this lane.
template <typename T>
__device__ void add_values(const AttentionParams& p, const T* v, int columns, int keys,
                           float weight_of_lane, float shrink, float (&sums)[kLaneColumns]) {
  float block[kLaneColumns] = {};
  for (int j = 0; j < keys; ++j) {
    const float weight = __shfl_sync(~0u, weight_of_lane, j);
    const T* value = v + std::int64_t(j) * p.kv_stride;
#pragma unroll
    for (int c = 0; c < kLaneColumns; ++c) {
      if (c * kLanes < columns) block[c] += weight * float(value[c * kLanes]);
    }
  }
#pragma unroll
  for (int c = 0; c < kLaneColumns; ++c) sums[c] = sums[c] * shrink + block[c];
}

template <typename T>
__global__ __launch_bounds__(kWarps* kLanes) void attention_simple_kernel(
    const __grid_constant__ AttentionParams p) {
  cuda::allow_next();
  cuda::wait_for_previous();
  const std::int64_t index = std::int64_t(blockIdx.x) * kWarps + threadIdx.x / kLanes;
  if (index >= tasks_of(p)) return;
  const Task task = task_of(p, index);
  const int lane = threadIdx.x % kLanes;
  const std::int64_t row = task.sequence * p.rows + task.row;
  const std::int64_t kv_first =
      task.sequence * p.kv_rows * p.kv_stride + task.head / (p.heads / p.kv_heads) * p.head_dim;
  const int column = task.first_column + lane;
  const T* q = static_cast<const T*>(p.q) + row * p.q_stride + task.head * p.head_dim;
  const T* k = static_cast<const T*>(p.k) + kv_first;
  const T* v = static_cast<const T*>(p.v) + kv_first + column;
  const int visible = p.visible ? min(p.visible[task.row], p.kv_rows) : p.kv_rows;

  float largest = -INFINITY;
  float total = 0;  // of the weights of this lane's keys
  float sums[kLaneColumns] = {};
  for (int begin = 0; begin < visible; begin += kLanes) {
    const int keys = min(kLanes, visible - begin);
    const std::int64_t first = std::int64_t(begin) * p.kv_stride;
    const float logit = logit_of_lane(p, q, k + first, keys);
    const float before = largest;
    largest = fmaxf(before, warp_max(logit));
    const float weight = expf(logit - largest);
    const float shrink = expf(before - largest);
    total = total * shrink + weight;
    add_values(p, v + first, p.head_dim - column, keys, weight, shrink, sums);
  }
  total = warp_sum(total);

  const std::int64_t first = row * p.out_stride + task.head * p.head_dim + column;
#pragma unroll
  for (int c = 0; c < kLaneColumns; ++c) {
    if (column + c * kLanes < p.head_dim) {
      store_element(p.out, p.out_type, first + c * kLanes, sums[c] / total);
    }
  }
}

template <typename T>
void start(const AttentionParams& p, cudaStream_t stream) {
  const std::int64_t tasks = tasks_of(p);
  if (tasks == 0) return;
  cuda::launch(attention_simple_kernel<T>,
               {.grid = dim3(unsigned((tasks + kWarps - 1) / kWarps)),
                .block = dim3(kWarps * kLanes),
                .order = cuda::Order::kOverlap},
               stream, p);
}

}  // namespace

void attention_simple(const AttentionParams& p, CUstream_st* stream) {
  switch (p.dtype) {
    case DType::kBf16:
      return start<__nv_bfloat16>(p, stream);
    case DType::kF16:
      return start<__half>(p, stream);
    default:
      return start<float>(p, stream);
  }
}

}  // namespace saccade::ops::detail
