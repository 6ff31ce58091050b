#pragma once

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "cuda/ptx/convert.cuh"
#include "cuda/ptx/memory.cuh"
#include "cuda/ptx/wgmma.cuh"
#include "saccade/tensor.h"

// The multiplication of one warpgroup: 64 weight rows by all tokens. Weights of bf16 are read by
// wgmma itself. wgmma takes no e4m3 beside 16-bit types, but takes its weights from registers as
// well, so weights of e4m3 are converted on the way there: to f16, for which there is an
// instruction. Their x is f16 for that reason.
namespace saccade::ops::detail::skinny {

namespace ptx = cuda::ptx;

constexpr int kRows = 64;   // of a weight tile
constexpr int kChunk = 64;  // elements of K per copy of x: one 128-byte swizzled row
constexpr int kRowBytes = 128;
constexpr int kBlocks = kChunk / 16;  // of one wgmma

template <typename Weight>
constexpr bool kIsScaled = std::is_same_v<Weight, __nv_fp8_e4m3>;

/// Of x beside such weights.
template <typename Weight>
inline constexpr DType kXType = kIsScaled<Weight> ? DType::kF16 : DType::kBf16;

/// Elements of K per copy of weights.
template <typename Weight>
constexpr int kWeightChunk = kRowBytes / int(sizeof(Weight));

/// The CTA's shared memory in one register: left alone, the compiler finds its address anew for
/// each operand.
template <class Kernel>
struct Operands {
  std::uint32_t first;

  __device__ explicit Operands(const Kernel& kernel) : first(ptx::shared_address(&kernel.s)) {
    pin();
  }

  __device__ void pin() { first = ptx::opaque(first); }

  __device__ std::uint32_t at(std::size_t member, int bytes) const {
    return first + std::uint32_t(member) + bytes;
  }

  __device__ void wait_weight(int chunk) const {
    constexpr int kStages = Kernel::kTile.weight_chunks;
    ptx::mbarrier_wait(at(offsetof(typename Kernel::Shared, weight_full), chunk % kStages * 8),
                       chunk / kStages % 2);
  }

  __device__ void wait_x(int chunk) const {
    constexpr int kStages = Kernel::kTile.x_chunks;
    ptx::mbarrier_wait(at(offsetof(typename Kernel::Shared, x_full), chunk % kStages * 8),
                       chunk / kStages % 2);
  }

  __device__ std::uint32_t weight(int chunk, int row_tile) const {
    return at(
        offsetof(typename Kernel::Shared, weight),
        chunk % Kernel::kTile.weight_chunks * Kernel::kWeightBytes + row_tile * kRows * kRowBytes);
  }

  __device__ std::uint64_t x(int chunk) const {
    return ptx::k_major_128b(at(offsetof(typename Kernel::Shared, x),
                                chunk % Kernel::kTile.x_chunks * Kernel::kTokens * kRowBytes));
  }
};

template <class Kernel>
struct SharedWeights {
  /// What can be done before there is an x.
  __device__ void prepare(const Kernel&, int) {}

  __device__ void multiply(const Kernel& kernel, int row_tile,
                           float (&sums)[Kernel::kTokens / 2]) const {
    ptx::pin_registers(sums);
    const Operands<Kernel> operands(kernel);
#pragma unroll 1
    for (int chunk = 0; chunk < kernel.chunks; ++chunk) {
      operands.wait_weight(chunk);
      operands.wait_x(chunk);
      const std::uint64_t a = ptx::k_major_128b(operands.weight(chunk, row_tile));
      const std::uint64_t b = operands.x(chunk);
      ptx::wgmma_fence();
#pragma unroll
      for (int k = 0; k < kBlocks; ++k) {
        ptx::Wgmma<__nv_bfloat16, Kernel::kTokens>::ss(sums, a + 2 * k, b + 2 * k, 1);
      }
      ptx::wgmma_commit();
      ptx::wgmma_wait<1>();
      if (chunk > 0 && kernel.at.lane == 0) {
        kernel.release_weight(chunk - 1);
        kernel.release_x(chunk - 1);
      }
    }
    ptx::wgmma_wait<0>();
    ptx::pin_registers(sums);
  }
};

/// Weights of e4m3, whose rows of 128 bytes meet two chunks of x; there is an even number of those.
/// A few chunks are in registers ahead of the product, the first ones before there is an x.
///
/// A thread reads two bytes at a time: wgmma has neighbouring pairs in neighbouring threads. That
/// is as many wavefronts as wgmma's own reading of f16 would take.
template <class Kernel>
struct ConvertedWeights {
  /// In registers; a chunk of x has set chunk % kSets. Warpgroups convert while others multiply.
  static constexpr int kSets = 4;
  static_assert(kSets % 2 == 0 && kSets <= Kernel::kTile.x_chunks &&
                kSets <= 2 * Kernel::kTile.weight_chunks);

  /// Fragments of 16 rows by 16 elements per warp, in wgmma's order.
  std::uint32_t sets[kSets][kBlocks][4];

  __device__ void prepare(const Kernel& kernel, int row_tile) {
    const Operands<Kernel> operands(kernel);
#pragma unroll
    for (int set = 0; set < kSets; ++set) {
      if (set < kernel.chunks) convert(kernel, operands, row_tile, set, set);
    }
  }

  __device__ void convert(const Kernel& kernel, const Operands<Kernel>& operands, int row_tile,
                          int chunk, int set) {
    const int half = set % 2;  // of the rows
    if (half == 0) operands.wait_weight(chunk / 2);
    const auto& at = kernel.at;
    const std::uint32_t first = operands.weight(chunk / 2, row_tile) +
                                (16 * at.warp + at.row()) * kRowBytes + at.row() * 16 + at.column();
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
      // Swizzled: unit u of 16 bytes of row i lies where unit u ^ i % 8 would.
      const std::uint32_t upper = first ^ (half * kBlocks + block) * 16;
      const std::uint32_t lower = upper + 8 * kRowBytes;
      sets[set][block][0] = ptx::widened_pair(ptx::load_shared_16(upper));
      sets[set][block][1] = ptx::widened_pair(ptx::load_shared_16(lower));
      sets[set][block][2] = ptx::widened_pair(ptx::load_shared_16(upper + 8));
      sets[set][block][3] = ptx::widened_pair(ptx::load_shared_16(lower + 8));
    }
    const int refill = chunk / 2 + Kernel::kTile.weight_chunks;
    if (half == 1 && 2 * refill < kernel.chunks && is_read(set ^ 1) && is_read(set)) {
      __syncwarp();
      if (kernel.at.lane == 0) kernel.release_weight(chunk / 2);
    }
  }

  /// True. Only the values tell that they have arrived: loads from shared memory queue behind other
  /// warps' products, and what follows them in the program may overtake them.
  __device__ bool is_read(int set) const {
    std::uint32_t common = ~0u;
#pragma unroll
    for (const auto& fragment : sets[set]) {
#pragma unroll
      for (const std::uint32_t pair : fragment) common &= pair;
    }
    return common != ~0u;  // which would be NaN
  }

  __device__ void multiply(const Kernel& kernel, int row_tile, float (&sums)[Kernel::kTokens / 2]) {
    ptx::pin_registers(sums);
    Operands<Kernel> operands(kernel);
#pragma unroll 1
    for (int round = 0; round < kernel.chunks; round += kSets) {
#pragma unroll
      for (int set = 0; set < kSets; ++set) {
        const int chunk = round + set;
        if (chunk == kernel.chunks) break;
        operands.pin();
        operands.wait_x(chunk);
        const std::uint64_t x = operands.x(chunk);
#pragma unroll
        for (auto& fragment : sets[set]) ptx::pin_registers(fragment);
        ptx::wgmma_fence();
#pragma unroll
        for (int k = 0; k < kBlocks; ++k) {
          ptx::Wgmma<__half, Kernel::kTokens>::rs(sums, sets[set][k], x + 2 * k, 1);
        }
        ptx::wgmma_commit();
        ptx::wgmma_wait<1>();
        if (chunk == 0) continue;
        if (kernel.at.lane == 0) kernel.release_x(chunk - 1);
        const int next = chunk - 1 + kSets;
        if (next < kernel.chunks) {
          convert(kernel, operands, row_tile, next, (set + kSets - 1) % kSets);
        }
      }
    }
    ptx::wgmma_wait<0>();
    ptx::pin_registers(sums);
  }
};

template <class Kernel, typename Weight>
using Weights =
    std::conditional_t<kIsScaled<Weight>, ConvertedWeights<Kernel>, SharedWeights<Kernel>>;

}  // namespace saccade::ops::detail::skinny
