// gelu(gate) * up of at most 64 rows.

#include "ops/gemm/gemm_skinny.cuh"

namespace saccade::ops::detail::skinny {
namespace {

constexpr int kChannels = kRows / 2;  // of a tile

template <typename WeightType>
struct Geglu {
  using Weight = WeightType;
  using Sent = HalfSums;
  // As many as the chain is fastest with (bench/study/gemm_skinny_chain).
  template <int kTokens>
  static constexpr int kWeightChunks = kIsScaled<Weight> ? 4 : 6 + (kTokens == 56);
  template <int kTokens>
  static constexpr Tile kTile{
      .row_tiles = 2, .split = kGegluSplit, .weight_chunks = kWeightChunks<kTokens>, .x_chunks = 4};

  struct Constants {
    float gate = 0;
    float up = 0;
    float gate_scale = 1;  // of the weights
    float up_scale = 1;
  };
  struct Inputs {};
  template <int kTokens>
  struct Side {
    float factor[kTokens];
  };

  static __device__ int first_group(const Params&, int tile) { return kGroups * tile; }

  static __device__ int channel(const Place& at) { return 8 * at.group() + at.row(); }

  static __device__ Constants constants(const Params& p, const Place& at) {
    Constants c;
    if (channel(at) >= p.gemm.n) return c;
    const auto both = [&](const float* vector, float& gate, float& up) {
      gate = vector[channel(at)];
      up = vector[p.gemm.n + channel(at)];
    };
    if (p.gemm.bias) both(p.gemm.bias, c.gate, c.up);
    if (kIsScaled<Weight>) both(p.gemm.weight_scales, c.gate_scale, c.up_scale);
    return c;
  }

  static __device__ Inputs inputs(const Params&, const Place&) { return {}; }

  template <int kTokens>
  static __device__ void fetch(const Params& p, const Place& at, Side<kTokens>& side) {
    fetch_factors(p.gemm, at.first_token, side.factor);
  }

  template <int kTokens>
  static __device__ void finish(const Params& p, const Place& at, const Constants& c, const Inputs&,
                                const Side<kTokens>& side, int j, const float (&v)[4]) {
    const float2 factor = *reinterpret_cast<const float2*>(side.factor + 8 * j + at.column());
    const float2 gate = {v[0] * c.gate_scale * factor.x + c.gate,
                         v[1] * c.gate_scale * factor.y + c.gate};
    const float2 up = {v[2] * c.up_scale * factor.x + c.up, v[3] * c.up_scale * factor.y + c.up};
    const float first = gelu(gate.x) * up.x;
    const float second = gelu(gate.y) * up.y;
    const float2 pair = paired_rows(first, second, at);
    const int odd = at.row() % 2;
    const int token = at.first_token + 8 * j + at.column() + odd;
    // The last CTA may have a tile less than others.
    if (token >= p.gemm.m || channel(at) >= p.gemm.n) return;
    store_pair(p.gemm.out, kXType<Weight>, token * p.gemm.n + channel(at) - odd, pair.x, pair.y);
  }
};

}  // namespace

void gemm_skinny_geglu(const GemmParams& p, CUstream_st* stream) {
  const WeightRows rows{.row_stride = 1, .half_stride = p.n, .group_stride = 8, .groups = p.n / 8};
  launch<Geglu>(p, {}, rows, 0, p.n / kChannels, stream);
}

}  // namespace saccade::ops::detail::skinny
