// gelu(gate) * up of at most 64 rows.

#include "ops/gemm/gemm_skinny.cuh"

namespace saccade::ops::detail::skinny {
namespace {

constexpr int kChannels = kRows / 2;  // of a tile

struct Geglu {
  static constexpr Tile kTile{
      .row_tiles = 2, .split = kGegluSplit, .weight_chunks = 6, .x_chunks = 4};

  struct Constants {
    float gate = 0;
    float up = 0;
  };
  struct Inputs {};
  template <int kTokens>
  struct Side {
    float factor[kTokens];
  };

  static __device__ int first_group(const Params&, int tile) { return kGroups * tile; }

  static __device__ int channel(const Place& at) { return 8 * at.group() + at.row(); }

  static __device__ Constants constants(const Params& p, const Place& at) {
    if (!p.gemm.bias || channel(at) >= p.gemm.n) return {};
    return {p.gemm.bias[channel(at)], p.gemm.bias[p.gemm.n + channel(at)]};
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
    const float first = gelu(v[0] * factor.x + c.gate) * (v[2] * factor.x + c.up);
    const float second = gelu(v[1] * factor.y + c.gate) * (v[3] * factor.y + c.up);
    const float2 pair = paired_rows(first, second, at);
    const int odd = at.row() % 2;
    const int token = at.first_token + 8 * j + at.column() + odd;
    // The last CTA may have a tile less than others.
    if (token >= p.gemm.m || channel(at) >= p.gemm.n) return;
    store_pair(p.gemm.out, p.gemm.out_type, std::int64_t(token) * p.gemm.n + channel(at) - odd,
               pair.x, pair.y);
  }
};

}  // namespace

void gemm_skinny_geglu(const GemmParams& p, CUstream_st* stream) {
  const WeightRows rows{.row_stride = 1, .half_stride = p.n, .group_stride = 8, .groups = p.n / 8};
  launch<Geglu>(make_params<Geglu>(p, {}, rows, 0), p.n / kChannels, stream);
}

}  // namespace saccade::ops::detail::skinny
