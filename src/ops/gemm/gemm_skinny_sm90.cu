// gemm of at most 64 rows: what is taken, and the epilogue of a plain product.

#include <algorithm>
#include <initializer_list>
#include <type_traits>

#include "ops/gemm/gemm_skinny.cuh"

namespace saccade::ops::detail {
namespace skinny {
namespace {

template <typename WeightType>
struct Product {
  using Weight = WeightType;
  using Sent = WholeSums;
  // With 33 to 56 tokens, two CTAs beside attention's or gate_up's slow those more than they gain.
  template <int kTokens>
  static constexpr unsigned kLeastBytes = kIsScaled<Weight>&& kTokens == 56 ? 95 << 10 : 0;
  template <int kTokens>
  static constexpr Tile kTile{.row_tiles = 1,
                              .split = kProductSplit,
                              .weight_chunks = 4,
                              .x_chunks = 4,
                              .least_bytes = kLeastBytes<kTokens>};

  /// Of the thread's two channels.
  struct Constants {
    float2 bias = {0, 0};
    float2 gate = {1, 1};
    float2 scale = {0, 0};
    float2 weight_scale = {1, 1};
  };
  struct Inputs {
    float2 residual[2];  // of the thread's two tokens
  };
  template <int kTokens>
  struct Side {
    float factor[kTokens];
    float squares[kTokens][4];  // of a warp's channels
  };

  static __device__ int first_group(const Params&, int tile) { return kGroups * tile; }

  static __device__ int channel(const Place& at) { return 16 * at.group() + 2 * at.row(); }

  static __device__ Constants constants(const Params& p, const Place& at) {
    Constants c;
    const auto pair = [&](const float* vector, float2& to) {
      if (vector) to = *reinterpret_cast<const float2*>(vector + channel(at));
    };
    pair(p.gemm.bias, c.bias);
    pair(p.gemm.gate, c.gate);
    pair(p.gemm.scale, c.scale);
    if (kIsScaled<Weight>) pair(p.gemm.weight_scales, c.weight_scale);
    return c;
  }

  static __device__ std::int64_t index(const Params& p, const Place& at, int token) {
    return std::int64_t(token) * p.gemm.n + channel(at);
  }

  static __device__ Inputs inputs(const Params& p, const Place& at) {
    Inputs in{};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int token = at.first_token + at.column() + i;
      if (p.gemm.residual && token < p.gemm.m) {
        in.residual[i] = load_pair(p.gemm.residual, p.gemm.out_type, index(p, at, token));
      }
    }
    return in;
  }

  template <int kTokens>
  static __device__ void fetch(const Params& p, const Place& at, Side<kTokens>& side) {
    fetch_factors(p.gemm, at.first_token, side.factor);
  }

  template <int kTokens>
  static __device__ void finish(const Params& p, const Place& at, const Constants& c,
                                const Inputs& in, Side<kTokens>& side, int, const float (&v)[4]) {
    static_assert(kTokens == 8, "inputs are those of one token tile");
    const GemmParams& g = p.gemm;
    float value[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float sum = v[i] * (i < 2 ? c.weight_scale.x : c.weight_scale.y);
      value[i] = sum * side.factor[at.column() + i % 2] + (i < 2 ? c.bias.x : c.bias.y);
    }
    if (g.activation != Activation::kNone) {
#pragma unroll
      for (float& x : value) x = activate(g.activation, x);
    }
    float squares[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float low = value[i] * c.gate.x + in.residual[i].x;
      const float high = value[2 + i] * c.gate.y + in.residual[i].y;
      squares[i] = low * low + high * high;
      const int token = at.first_token + at.column() + i;
      if (token >= g.m) continue;
      store_pair(g.out, g.out_type, index(p, at, token), low, high);
      if (!g.scaled) continue;
      store_pair(g.scaled, g.scaled_type, index(p, at, token), low * c.scale.x, high * c.scale.y);
    }
    if (g.squares) store_squares(g, at, side, squares);
  }

  /// Tile t makes part t; parts that no tile makes are zero.
  template <class Side>
  static __device__ void store_squares(const GemmParams& g, const Place& at, Side& side,
                                       float (&squares)[2]) {
    constexpr int kTokens = std::extent_v<decltype(side.squares)>;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int lane = 4; lane < 32; lane *= 2) {
        squares[i] += __shfl_xor_sync(~0u, squares[i], lane);
      }
      if (at.row() == 0) side.squares[at.column() + i][at.warp] = squares[i];
    }
    ptx::named_barrier(1, 128);
    const int local = threadIdx.x;
    const int token = at.first_token + local;
    if (local >= kTokens || token >= g.m) return;
    const float* parts = side.squares[local];
    float* to = g.squares + std::int64_t(token) * g.squares_parts;
    to[at.tile] = parts[0] + parts[1] + parts[2] + parts[3];
    const int tiles = g.n / kRows;
    for (int part = at.tile + tiles; part < g.squares_parts; part += tiles) to[part] = 0;
  }
};

/// What a policy asks for (see is_added()): the product is added to the residual, and a scaled copy
/// and the sums of squares follow. One warp fetches the residual beside the multiplication.
template <typename WeightType>
struct AddedProduct : Product<WeightType> {
  using Base = Product<WeightType>;
  using Sent = HalfSums;  // as fine as x and the scaled copy, or finer
  using typename Base::Constants;
  struct Inputs {};
  template <int kTokens>
  struct alignas(16) Side {
    float residual[kTokens][kRows + 4];  // two tokens apart lie in different banks
    float squares[kTokens][4];
  };

  static __device__ Inputs inputs(const Params&, const Place&) { return {}; }

  template <int kTokens>
  static __device__ void fetch(const Params& p, const Place& at, Side<kTokens>& side) {
    const int lane = threadIdx.x % 32;
    const auto* residual = static_cast<const float*>(p.gemm.residual) + kRows * at.tile;
    const int column = 4 * (lane % 16);
#pragma unroll
    for (int first = 0; first < kTokens; first += 2) {
      const int local = first + lane / 16;
      const int token = min(at.first_token + local, p.gemm.m - 1);
      *reinterpret_cast<float4*>(&side.residual[local][column]) =
          *reinterpret_cast<const float4*>(residual + token * p.gemm.n + column);
    }
  }

  template <int kTokens>
  static __device__ void finish(const Params& p, const Place& at, const Constants& c, const Inputs&,
                                Side<kTokens>& side, int, const float (&v)[4]) {
    const GemmParams& g = p.gemm;
    float squares[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int local = at.column() + i;
      const auto added =
          *reinterpret_cast<const float2*>(&side.residual[local][16 * at.warp + 2 * at.row()]);
      const float low = (v[i] * c.weight_scale.x + c.bias.x) * c.gate.x + added.x;
      const float high = (v[2 + i] * c.weight_scale.y + c.bias.y) * c.gate.y + added.y;
      squares[i] = low * low + high * high;
      const int token = at.first_token + local;
      if (token >= g.m) continue;
      const int index = token * g.n + Base::channel(at);
      store_pair(g.out, DType::kF32, index, low, high);
      store_pair(g.scaled, kXType<WeightType>, index, low * c.scale.x, high * c.scale.y);
    }
    Base::store_squares(g, at, side, squares);
  }
};

/// Whether AddedProduct makes it.
bool is_added(const GemmParams& p) {
  return p.residual && p.scaled && p.squares && !p.norm_squares && p.out_type == DType::kF32 &&
         p.scaled_type == p.x_type && p.activation == Activation::kNone;
}

/// CTAs get whole rows of 128 bytes of both operands.
bool splits(const GemmParams& p, int split) {
  const int least = kRowBytes / int(std::min(size_of(p.x_type), size_of(p.weight_type)));
  return p.k % (least * split) == 0;
}

bool aligned(std::initializer_list<const void*> operands) {
  for (const void* operand : operands) {
    if (reinterpret_cast<std::uintptr_t>(operand) % 16 != 0) return false;
  }
  return true;
}

bool operands_taken(const GemmParams& p) {
  const DType x_type = p.weight_scales ? kXType<__nv_fp8_e4m3> : kXType<__nv_bfloat16>;
  const DType weight_type = p.weight_scales ? DType::kE4m3 : DType::kBf16;
  return p.m >= 1 && p.m <= kMaxTokens && p.x_type == x_type && !p.x_scales &&
         p.weight_type == weight_type && !p.quantized && p.norm_parts % 4 == 0 &&
         aligned({p.x, p.weight, p.weight_scales, p.bias, p.norm_squares});
}

}  // namespace
}  // namespace skinny

bool gemm_skinny_takes(const GemmParams& p) {
  using namespace skinny;
  if (!operands_taken(p) || !aligned({p.out, p.gate, p.residual, p.scale, p.scaled}) ||
      p.guidance_weights) {
    return false;
  }
  if (p.activation == Activation::kGeglu) {
    return p.n % 32 == 0 && splits(p, kGegluSplit) && p.out_type == p.x_type && !p.gate &&
           !p.residual && !p.scaled;
  }
  return p.n % kRows == 0 && splits(p, kProductSplit) &&
         (!p.squares || (p.out_type == DType::kF32 && p.squares_parts >= p.n / kRows));
}

void gemm_skinny(const GemmParams& p, CUstream_st* stream) {
  using namespace skinny;
  if (p.activation == Activation::kGeglu) return gemm_skinny_geglu(p, stream);
  const WeightRows rows{.row_stride = 2, .half_stride = 1, .group_stride = 16, .groups = p.n / 16};
  if (is_added(p)) return launch<AddedProduct>(p, {}, rows, 0, p.n / kRows, stream);
  launch<Product>(p, {}, rows, 0, p.n / kRows, stream);
}

bool project_qkv_skinny_takes(const QkvParams& p) {
  using namespace skinny;
  return operands_taken(p.gemm) && splits(p.gemm, kQkvSplit) && p.rope.dtype == DType::kBf16 &&
         p.rope.head_dim % kRows == 0 && aligned({p.rope.table, p.rope.q, p.rope.k, p.rope.v});
}

}  // namespace saccade::ops::detail
