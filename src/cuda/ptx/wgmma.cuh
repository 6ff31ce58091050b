#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <cstdint>

// wgmma.mma_async m64nNk16, k32 of e4m3, with f32 accumulators, for one warpgroup (sm_90a).
//
//   d[64, N] += a[64, 16] b[N, 16]^T      (or d = a b^T where accumulate is 0)
//
// Thread t of the warpgroup (w = t / 32, l = t % 32) holds rows 16 w + l / 4 and 8 below, columns
// 8 j + 2 (l % 4) and its right neighbour: d[4 j] d[4 j + 1] of the upper row, d[4 j + 2]
// d[4 j + 3] of the lower.
namespace saccade::cuda::ptx {

/// Orders register and shared-memory accesses before the wgmmas that follow.
__device__ inline void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

__device__ inline void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/// Waits until at most N committed groups are in flight.
template <int N>
__device__ inline void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

/// Keeps the compiler from moving accesses of accumulators across this point.
template <int N>
__device__ inline void pin_registers(float (&d)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) asm volatile("" : "+f"(d[i])::"memory");
}

/// The same for an operand in registers.
template <int N>
__device__ inline void pin_registers(std::uint32_t (&a)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) asm volatile("" : "+r"(a[i])::"memory");
}

/// Shared-memory matrix descriptor: K-major rows of 128 bytes in the 128-byte swizzle, groups of
/// eight rows 1024 bytes apart. The tile starts at a multiple of 1024; its k-th block of one wgmma
/// is 32 bytes, that is 2 in the descriptor, further.
__device__ inline std::uint64_t k_major_128b(std::uint32_t shared_address) {
  return std::uint64_t((shared_address & 0x3FFFF) >> 4) | (std::uint64_t(1) << 16) |
         (std::uint64_t(64) << 32) | (std::uint64_t(1) << 62);
}

/// The same for an operand stored MN-major: rows are K, and 64 elements of N make the 128-byte
/// swizzled row. `n_stride_bytes`, the leading-dimension offset, is the distance of the next 64
/// columns; groups of eight rows of K are 1024 bytes apart, so the next 16 rows start 2048 further.
__device__ inline std::uint64_t mn_major_128b(std::uint32_t shared_address,
                                              std::uint32_t n_stride_bytes) {
  return std::uint64_t((shared_address & 0x3FFFF) >> 4) |
         (std::uint64_t(n_stride_bytes >> 4) << 16) | (std::uint64_t(64) << 32) |
         (std::uint64_t(1) << 62);
}

/// ss: a and b in shared memory. rs: a in registers, as four packed pairs per thread in the order
/// of mma.sync m16n8k16. kTransposeB: b is stored MN-major.
template <typename T, int N>
struct Wgmma;

// clang-format off
#define SACCADE_REGISTERS_8 "%0,%1,%2,%3"
#define SACCADE_REGISTERS_16 SACCADE_REGISTERS_8 "," "%4,%5,%6,%7"
#define SACCADE_REGISTERS_24 SACCADE_REGISTERS_16 "," "%8,%9,%10,%11"
#define SACCADE_REGISTERS_32 SACCADE_REGISTERS_24 "," "%12,%13,%14,%15"
#define SACCADE_REGISTERS_40 SACCADE_REGISTERS_32 "," "%16,%17,%18,%19"
#define SACCADE_REGISTERS_48 SACCADE_REGISTERS_40 "," "%20,%21,%22,%23"
#define SACCADE_REGISTERS_56 SACCADE_REGISTERS_48 "," "%24,%25,%26,%27"
#define SACCADE_REGISTERS_64 SACCADE_REGISTERS_56 "," "%28,%29,%30,%31"
#define SACCADE_REGISTERS_72 SACCADE_REGISTERS_64 "," "%32,%33,%34,%35"
#define SACCADE_REGISTERS_80 SACCADE_REGISTERS_72 "," "%36,%37,%38,%39"
#define SACCADE_REGISTERS_88 SACCADE_REGISTERS_80 "," "%40,%41,%42,%43"
#define SACCADE_REGISTERS_96 SACCADE_REGISTERS_88 "," "%44,%45,%46,%47"
#define SACCADE_REGISTERS_104 SACCADE_REGISTERS_96 "," "%48,%49,%50,%51"
#define SACCADE_REGISTERS_112 SACCADE_REGISTERS_104 "," "%52,%53,%54,%55"
#define SACCADE_REGISTERS_120 SACCADE_REGISTERS_112 "," "%56,%57,%58,%59"
#define SACCADE_REGISTERS_128 SACCADE_REGISTERS_120 "," "%60,%61,%62,%63"
#define SACCADE_REGISTERS_136 SACCADE_REGISTERS_128 "," "%64,%65,%66,%67"
#define SACCADE_REGISTERS_144 SACCADE_REGISTERS_136 "," "%68,%69,%70,%71"
#define SACCADE_REGISTERS_152 SACCADE_REGISTERS_144 "," "%72,%73,%74,%75"
#define SACCADE_REGISTERS_160 SACCADE_REGISTERS_152 "," "%76,%77,%78,%79"
#define SACCADE_REGISTERS_168 SACCADE_REGISTERS_160 "," "%80,%81,%82,%83"
#define SACCADE_REGISTERS_176 SACCADE_REGISTERS_168 "," "%84,%85,%86,%87"
#define SACCADE_REGISTERS_184 SACCADE_REGISTERS_176 "," "%88,%89,%90,%91"
#define SACCADE_REGISTERS_192 SACCADE_REGISTERS_184 "," "%92,%93,%94,%95"
#define SACCADE_REGISTERS_200 SACCADE_REGISTERS_192 "," "%96,%97,%98,%99"
#define SACCADE_REGISTERS_208 SACCADE_REGISTERS_200 "," "%100,%101,%102,%103"
#define SACCADE_REGISTERS_216 SACCADE_REGISTERS_208 "," "%104,%105,%106,%107"
#define SACCADE_REGISTERS_224 SACCADE_REGISTERS_216 "," "%108,%109,%110,%111"
#define SACCADE_REGISTERS_232 SACCADE_REGISTERS_224 "," "%112,%113,%114,%115"
#define SACCADE_REGISTERS_240 SACCADE_REGISTERS_232 "," "%116,%117,%118,%119"
#define SACCADE_REGISTERS_248 SACCADE_REGISTERS_240 "," "%120,%121,%122,%123"
#define SACCADE_REGISTERS_256 SACCADE_REGISTERS_248 "," "%124,%125,%126,%127"
#define SACCADE_ACCUMULATORS(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define SACCADE_OPERANDS_8 SACCADE_ACCUMULATORS(0)
#define SACCADE_OPERANDS_16 SACCADE_OPERANDS_8, SACCADE_ACCUMULATORS(4)
#define SACCADE_OPERANDS_24 SACCADE_OPERANDS_16, SACCADE_ACCUMULATORS(8)
#define SACCADE_OPERANDS_32 SACCADE_OPERANDS_24, SACCADE_ACCUMULATORS(12)
#define SACCADE_OPERANDS_40 SACCADE_OPERANDS_32, SACCADE_ACCUMULATORS(16)
#define SACCADE_OPERANDS_48 SACCADE_OPERANDS_40, SACCADE_ACCUMULATORS(20)
#define SACCADE_OPERANDS_56 SACCADE_OPERANDS_48, SACCADE_ACCUMULATORS(24)
#define SACCADE_OPERANDS_64 SACCADE_OPERANDS_56, SACCADE_ACCUMULATORS(28)
#define SACCADE_OPERANDS_72 SACCADE_OPERANDS_64, SACCADE_ACCUMULATORS(32)
#define SACCADE_OPERANDS_80 SACCADE_OPERANDS_72, SACCADE_ACCUMULATORS(36)
#define SACCADE_OPERANDS_88 SACCADE_OPERANDS_80, SACCADE_ACCUMULATORS(40)
#define SACCADE_OPERANDS_96 SACCADE_OPERANDS_88, SACCADE_ACCUMULATORS(44)
#define SACCADE_OPERANDS_104 SACCADE_OPERANDS_96, SACCADE_ACCUMULATORS(48)
#define SACCADE_OPERANDS_112 SACCADE_OPERANDS_104, SACCADE_ACCUMULATORS(52)
#define SACCADE_OPERANDS_120 SACCADE_OPERANDS_112, SACCADE_ACCUMULATORS(56)
#define SACCADE_OPERANDS_128 SACCADE_OPERANDS_120, SACCADE_ACCUMULATORS(60)
#define SACCADE_OPERANDS_136 SACCADE_OPERANDS_128, SACCADE_ACCUMULATORS(64)
#define SACCADE_OPERANDS_144 SACCADE_OPERANDS_136, SACCADE_ACCUMULATORS(68)
#define SACCADE_OPERANDS_152 SACCADE_OPERANDS_144, SACCADE_ACCUMULATORS(72)
#define SACCADE_OPERANDS_160 SACCADE_OPERANDS_152, SACCADE_ACCUMULATORS(76)
#define SACCADE_OPERANDS_168 SACCADE_OPERANDS_160, SACCADE_ACCUMULATORS(80)
#define SACCADE_OPERANDS_176 SACCADE_OPERANDS_168, SACCADE_ACCUMULATORS(84)
#define SACCADE_OPERANDS_184 SACCADE_OPERANDS_176, SACCADE_ACCUMULATORS(88)
#define SACCADE_OPERANDS_192 SACCADE_OPERANDS_184, SACCADE_ACCUMULATORS(92)
#define SACCADE_OPERANDS_200 SACCADE_OPERANDS_192, SACCADE_ACCUMULATORS(96)
#define SACCADE_OPERANDS_208 SACCADE_OPERANDS_200, SACCADE_ACCUMULATORS(100)
#define SACCADE_OPERANDS_216 SACCADE_OPERANDS_208, SACCADE_ACCUMULATORS(104)
#define SACCADE_OPERANDS_224 SACCADE_OPERANDS_216, SACCADE_ACCUMULATORS(108)
#define SACCADE_OPERANDS_232 SACCADE_OPERANDS_224, SACCADE_ACCUMULATORS(112)
#define SACCADE_OPERANDS_240 SACCADE_OPERANDS_232, SACCADE_ACCUMULATORS(116)
#define SACCADE_OPERANDS_248 SACCADE_OPERANDS_240, SACCADE_ACCUMULATORS(120)
#define SACCADE_OPERANDS_256 SACCADE_OPERANDS_248, SACCADE_ACCUMULATORS(124)

#define SACCADE_WGMMA(T, TYPE, N, R0, R1, R2, R3, R4, R5, R6)                                    \
  template <>                                                                                    \
  struct Wgmma<T, N> {                                                                           \
    template <int kTransposeB = 0>                                                               \
    static __device__ void ss(float (&d)[N / 2], std::uint64_t a, std::uint64_t b,               \
                              int accumulate) {                                                  \
      asm volatile("{.reg .pred p; setp.ne.b32 p, %" #R2 ", 0;"                                  \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {"          \
                   SACCADE_REGISTERS_##N "}, %" #R0 ", %" #R1 ", p, 1, 1, 0, %" #R3 ";}"         \
                   : SACCADE_OPERANDS_##N                                                        \
                   : "l"(a), "l"(b), "r"(accumulate), "n"(kTransposeB));                         \
    }                                                                                            \
    template <int kTransposeB = 0>                                                               \
    static __device__ void rs(float (&d)[N / 2], const std::uint32_t (&a)[4], std::uint64_t b,   \
                              int accumulate) {                                                  \
      asm volatile("{.reg .pred p; setp.ne.b32 p, %" #R5 ", 0;"                                  \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32." TYPE "." TYPE " {"          \
                   SACCADE_REGISTERS_##N "}, {%" #R0 ",%" #R1 ",%" #R2 ",%" #R3 "}, %" #R4       \
                   ", p, 1, 1, %" #R6 ";}"                                                       \
                   : SACCADE_OPERANDS_##N                                                        \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate),        \
                     "n"(kTransposeB));                                                          \
    }                                                                                            \
  };

// The numbers are those of the operands behind the N / 2 accumulators.
SACCADE_WGMMA(__nv_bfloat16, "bf16", 16, 8, 9, 10, 11, 12, 13, 14)
SACCADE_WGMMA(__nv_bfloat16, "bf16", 24, 12, 13, 14, 15, 16, 17, 18)
SACCADE_WGMMA(__nv_bfloat16, "bf16", 32, 16, 17, 18, 19, 20, 21, 22)
SACCADE_WGMMA(__nv_bfloat16, "bf16", 40, 20, 21, 22, 23, 24, 25, 26)
SACCADE_WGMMA(__nv_bfloat16, "bf16", 48, 24, 25, 26, 27, 28, 29, 30)
SACCADE_WGMMA(__nv_bfloat16, "bf16", 56, 28, 29, 30, 31, 32, 33, 34)
SACCADE_WGMMA(__nv_bfloat16, "bf16", 64, 32, 33, 34, 35, 36, 37, 38)
SACCADE_WGMMA(__nv_bfloat16, "bf16", 72, 36, 37, 38, 39, 40, 41, 42)
SACCADE_WGMMA(__nv_bfloat16, "bf16", 80, 40, 41, 42, 43, 44, 45, 46)
SACCADE_WGMMA(__nv_bfloat16, "bf16", 96, 48, 49, 50, 51, 52, 53, 54)
SACCADE_WGMMA(__nv_bfloat16, "bf16", 112, 56, 57, 58, 59, 60, 61, 62)
SACCADE_WGMMA(__nv_bfloat16, "bf16", 128, 64, 65, 66, 67, 68, 69, 70)
SACCADE_WGMMA(__nv_bfloat16, "bf16", 144, 72, 73, 74, 75, 76, 77, 78)
SACCADE_WGMMA(__nv_bfloat16, "bf16", 160, 80, 81, 82, 83, 84, 85, 86)
SACCADE_WGMMA(__nv_bfloat16, "bf16", 176, 88, 89, 90, 91, 92, 93, 94)
SACCADE_WGMMA(__nv_bfloat16, "bf16", 192, 96, 97, 98, 99, 100, 101, 102)
SACCADE_WGMMA(__nv_bfloat16, "bf16", 208, 104, 105, 106, 107, 108, 109, 110)
SACCADE_WGMMA(__nv_bfloat16, "bf16", 224, 112, 113, 114, 115, 116, 117, 118)
SACCADE_WGMMA(__nv_bfloat16, "bf16", 240, 120, 121, 122, 123, 124, 125, 126)
SACCADE_WGMMA(__nv_bfloat16, "bf16", 256, 128, 129, 130, 131, 132, 133, 134)
SACCADE_WGMMA(__half, "f16", 16, 8, 9, 10, 11, 12, 13, 14)
SACCADE_WGMMA(__half, "f16", 24, 12, 13, 14, 15, 16, 17, 18)
SACCADE_WGMMA(__half, "f16", 32, 16, 17, 18, 19, 20, 21, 22)
SACCADE_WGMMA(__half, "f16", 40, 20, 21, 22, 23, 24, 25, 26)
SACCADE_WGMMA(__half, "f16", 48, 24, 25, 26, 27, 28, 29, 30)
SACCADE_WGMMA(__half, "f16", 56, 28, 29, 30, 31, 32, 33, 34)
SACCADE_WGMMA(__half, "f16", 64, 32, 33, 34, 35, 36, 37, 38)
SACCADE_WGMMA(__half, "f16", 72, 36, 37, 38, 39, 40, 41, 42)
SACCADE_WGMMA(__half, "f16", 80, 40, 41, 42, 43, 44, 45, 46)
SACCADE_WGMMA(__half, "f16", 96, 48, 49, 50, 51, 52, 53, 54)
SACCADE_WGMMA(__half, "f16", 112, 56, 57, 58, 59, 60, 61, 62)
SACCADE_WGMMA(__half, "f16", 128, 64, 65, 66, 67, 68, 69, 70)
SACCADE_WGMMA(__half, "f16", 144, 72, 73, 74, 75, 76, 77, 78)
SACCADE_WGMMA(__half, "f16", 160, 80, 81, 82, 83, 84, 85, 86)
SACCADE_WGMMA(__half, "f16", 176, 88, 89, 90, 91, 92, 93, 94)
SACCADE_WGMMA(__half, "f16", 192, 96, 97, 98, 99, 100, 101, 102)
SACCADE_WGMMA(__half, "f16", 208, 104, 105, 106, 107, 108, 109, 110)
SACCADE_WGMMA(__half, "f16", 224, 112, 113, 114, 115, 116, 117, 118)
SACCADE_WGMMA(__half, "f16", 240, 120, 121, 122, 123, 124, 125, 126)
SACCADE_WGMMA(__half, "f16", 256, 128, 129, 130, 131, 132, 133, 134)

// e4m3 is always K-major.
#define SACCADE_WGMMA_E4M3(N, R0, R1, R2)                                                        \
  template <>                                                                                    \
  struct Wgmma<__nv_fp8_e4m3, N> {                                                               \
    static __device__ void ss(float (&d)[N / 2], std::uint64_t a, std::uint64_t b,               \
                              int accumulate) {                                                  \
      asm volatile("{.reg .pred p; setp.ne.b32 p, %" #R2 ", 0;"                                  \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k32.f32.e4m3.e4m3 {"                  \
                   SACCADE_REGISTERS_##N "}, %" #R0 ", %" #R1 ", p, 1, 1;}"                      \
                   : SACCADE_OPERANDS_##N                                                        \
                   : "l"(a), "l"(b), "r"(accumulate));                                           \
    }                                                                                            \
  };

SACCADE_WGMMA_E4M3(96, 48, 49, 50)
SACCADE_WGMMA_E4M3(128, 64, 65, 66)
SACCADE_WGMMA_E4M3(160, 80, 81, 82)
SACCADE_WGMMA_E4M3(192, 96, 97, 98)
SACCADE_WGMMA_E4M3(256, 128, 129, 130)

// clang-format on
#undef SACCADE_WGMMA
#undef SACCADE_WGMMA_E4M3

}  // namespace saccade::cuda::ptx
