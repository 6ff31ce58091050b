// project_qkv of at most 64 rows.

#include "ops/gemm/gemm_skinny.cuh"

namespace saccade::ops::detail {
namespace skinny {
namespace {

constexpr int kPairs = kRows / 2;           // of a tile: dimensions i and i + head_dim / 2
constexpr int kPaddedRow = 2 * kPairs + 4;  // eight rows apart lie in different banks

/// The tile's head, and where its pairs start in it.
struct Part {
  int head;
  int first_pair;
};

__device__ Part part_of(const RopeParams& rope, int tile) {
  const int tiles = rope.head_dim / kRows;
  return {tile / tiles, tile % tiles * kPairs};
}

__device__ bool rotates(const RopeParams& rope, int head) {
  return head < rope.heads + rope.kv_heads;
}

/// Where rows of a head go: a query's token by token, a key's and a value's by position.
struct HeadRows {
  __nv_bfloat16* data;
  int stride;
  bool by_token;
};

__device__ HeadRows rows_of(const RopeParams& rope, int head) {
  const bool query = head < rope.heads;
  const bool key = !query && rotates(rope, head);
  void* const data = query ? rope.q : key ? rope.k : rope.v;
  const int heads = query ? rope.heads : rope.kv_heads;
  const int column = query ? head : head - rope.heads - (key ? 0 : rope.kv_heads);
  return {static_cast<__nv_bfloat16*>(data) + column * rope.head_dim, heads * rope.head_dim, query};
}

template <typename WeightType>
struct Heads {
  using Weight = WeightType;
  using Sent = HalfSums;
  template <int kTokens>
  static constexpr Tile kTile{.row_tiles = 1,
                              .split = kQkvSplit,
                              .weight_chunks = kIsScaled<Weight> ? 2 : 4,
                              .x_chunks = 4};

  /// Of the dimensions that the thread has after paired_rows(): biases and scales of the weights.
  struct Constants {
    float2 low = {0, 0};
    float2 high = {0, 0};
    float2 low_scale = {1, 1};
    float2 high_scale = {1, 1};
    __nv_bfloat16* out;
  };
  struct Inputs {};
  template <int kTokens>
  struct alignas(16) Side {
    float rotation[kTokens][kPaddedRow];  // cosines, then sines of the tile's pairs
    float factor[kTokens];
    int row[kTokens];  // where a token's begins in Constants::out
  };

  static __device__ int first_group(const Params& p, int tile) {
    const Part part = part_of(p.rope, tile);
    return (part.head * p.rope.head_dim + part.first_pair) / 8;
  }

  /// The lower of the thread's two neighbours in the tile's pairs.
  static __device__ int pair(const Place& at) { return 8 * at.warp + at.row() / 2 * 2; }

  static __device__ Constants constants(const Params& p, const Place& at) {
    Constants c;
    const Part part = part_of(p.rope, at.tile);
    const int row = part.head * p.rope.head_dim + part.first_pair + pair(at);
    const auto both = [&](const float* vector, float2& low, float2& high) {
      low = *reinterpret_cast<const float2*>(vector + row);
      high = *reinterpret_cast<const float2*>(vector + row + p.rope.head_dim / 2);
    };
    if (p.gemm.bias) both(p.gemm.bias, c.low, c.high);
    if (kIsScaled<Weight>) both(p.gemm.weight_scales, c.low_scale, c.high_scale);
    c.out = rows_of(p.rope, part.head).data + part.first_pair + pair(at);
    return c;
  }

  static __device__ Inputs inputs(const Params&, const Place&) { return {}; }

  template <int kTokens>
  static __device__ void fetch(const Params& p, const Place& at, Side<kTokens>& side) {
    const int lane = threadIdx.x % 32;
    const int token = at.first_token + lane;
    const bool mine = lane < kTokens && token < p.gemm.m;
    const int position = mine ? p.rope.positions[token] : 0;
    fetch_factors(p.gemm, at.first_token, side.factor);
    const Part part = part_of(p.rope, at.tile);
    const HeadRows rows = rows_of(p.rope, part.head);
    if (lane < kTokens) side.row[lane] = (rows.by_token ? token : position) * rows.stride;
    // Half a warp copies a token's row: eight lanes the cosines, eight the sines. A head of values
    // is turned by nothing.
    const bool sines = lane / 8 % 2 == 1;
    const int column = part.first_pair + (sines ? p.rope.head_dim / 2 : 0) + lane % 8 * 4;
    const bool turns = rotates(p.rope, part.head);
    const float still = sines ? 0 : 1;
#pragma unroll
    for (int first = 0; first < kTokens; first += 2) {
      const int local = first + lane / 16;
      const std::int64_t row = __shfl_sync(~0u, position, local);
      const auto* from =
          reinterpret_cast<const float4*>(p.rope.table + row * p.rope.head_dim + column);
      *reinterpret_cast<float4*>(&side.rotation[local][lane % 16 * 4]) =
          turns ? *from : make_float4(still, still, still, still);
    }
  }

  template <int kTokens>
  static __device__ void finish(const Params& p, const Place& at, const Constants& c, const Inputs&,
                                const Side<kTokens>& side, int j, const float (&v)[4]) {
    const int local = 8 * j + at.column() + at.row() % 2;
    const int token = at.first_token + local;
    const float factor = side.factor[local];
    float2 low = paired_rows(v[0], v[1], at);
    float2 high = paired_rows(v[2], v[3], at);
    low = {low.x * c.low_scale.x * factor + c.low.x, low.y * c.low_scale.y * factor + c.low.y};
    high = {high.x * c.high_scale.x * factor + c.high.x,
            high.y * c.high_scale.y * factor + c.high.y};
    const float* turn = &side.rotation[local][pair(at)];
    const float2 cosine = *reinterpret_cast<const float2*>(turn);
    const float2 sine = *reinterpret_cast<const float2*>(turn + kPairs);
    if (token >= p.gemm.m) return;
    __nv_bfloat16* to = c.out + side.row[local];
    store_pair(to, DType::kBf16, 0, low.x * cosine.x - high.x * sine.x,
               low.y * cosine.y - high.y * sine.y);
    store_pair(to, DType::kBf16, unsigned(p.rope.head_dim) / 2, high.x * cosine.x + low.x * sine.x,
               high.y * cosine.y + low.y * sine.y);
  }
};

}  // namespace
}  // namespace skinny

void project_qkv_skinny(const QkvParams& p, CUstream_st* stream) {
  using namespace skinny;
  const int head_dim = p.rope.head_dim;
  // Groups of consecutive rows overlap as halves: a tile's first group lies in a first half.
  const WeightRows rows{
      .row_stride = 1, .half_stride = head_dim / 2, .group_stride = 8, .groups = p.gemm.n / 8};
  const int first_tile = p.rope.q ? 0 : p.rope.heads * head_dim / kRows;
  launch<Heads>(p.gemm, p.rope, rows, first_tile, p.gemm.n / kRows - first_tile, stream);
}

}  // namespace saccade::ops::detail
