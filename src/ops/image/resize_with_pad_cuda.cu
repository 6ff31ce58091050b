// One CTA per 16 x 16 pixels of the padded picture, one thread per pixel, all passes in one launch:
// the rows that a tile needs are filtered once per tile and stay in shared memory, which costs a
// few per cent of double work and saves a scratch picture whose extents follow the camera's.
//
// Every result is bit-equal to the CPU's. There nothing contracts a * b + c, so every rounding is
// spelled out here: the compiler never fuses __dmul_rn and its kin.

#include "cuda/launch.h"
#include "ops/image/resize_with_pad.h"

namespace saccade::ops::detail {
namespace {

constexpr int kTile = 16;
constexpr int kThreads = kTile * kTile;
constexpr int kChannels = 3;
constexpr int kFractionBits = 22;
constexpr int kHalf = 1 << (kFractionBits - 1);
constexpr float kBlack = -1.0f;

constexpr int kStrip = 64;                          // rows of the frame that are filtered at once
constexpr int kPasses = kStrip * kTile / kThreads;  // of the CTA over a strip
constexpr int kTaps = 64;                           // weights of a line that are known at once

/// Width or height.
struct Axis {
  int extent;
  int resized;
};

/// The taps of one resized column or row: those of PIL's triangle, as wide as the ratio and never
/// narrower than two pixels.
struct Line {
  int first;
  int end;
  double center;
  double sum;  // of the weights
};

/// A line's weights in fixed point. Odd, so that threads of 16 lines read from 16 banks.
using Weights = int[kTile][kTaps + 1];

struct Shared {
  Line columns[kTile];
  Line rows[kTile];
  Weights column_weights;
  Weights row_weights;
  uchar4 filtered[kStrip][kTile];  // a strip of the frame, already as narrow as the tile
};

__device__ double scale_of(const Axis& axis) { return __ddiv_rn(axis.extent, axis.resized); }

__device__ double steepness_of(const Axis& axis) {
  return __ddiv_rn(1.0, fmax(scale_of(axis), 1.0));
}

__device__ double weight_of(int pixel, double center, double steepness) {
  const double distance = __dadd_rn(__dsub_rn(pixel, center), 0.5);
  return fmax(__dsub_rn(1.0, fabs(__dmul_rn(distance, steepness))), 0.0);
}

__device__ Line line_of(const Axis& axis, int index) {
  const double scale = scale_of(axis);
  const double support = fmax(scale, 1.0);
  const double steepness = steepness_of(axis);
  Line line;
  line.center = __dmul_rn(__dadd_rn(index, 0.5), scale);
  line.first = max(int(__dadd_rn(__dsub_rn(line.center, support), 0.5)), 0);
  line.end = min(int(__dadd_rn(__dadd_rn(line.center, support), 0.5)), axis.extent);
  line.sum = 0;
  for (int pixel = line.first; pixel < line.end; ++pixel) {
    line.sum = __dadd_rn(line.sum, weight_of(pixel, line.center, steepness));
  }
  return line;
}

/// weights[i][j] is that of line i's pixel start(line) + j, where the line has one.
template <typename Start>
__device__ void fill_weights(const Axis& axis, const Line* lines, Start start, Weights& weights) {
  const double steepness = steepness_of(axis);
  for (int i = int(threadIdx.x); i < kTile * kTaps; i += kThreads) {
    const Line& line = lines[i / kTaps];
    const int pixel = start(line) + i % kTaps;
    if (pixel < line.first || pixel >= line.end) continue;
    const double share = __ddiv_rn(weight_of(pixel, line.center, steepness), line.sum);
    weights[i / kTaps][i % kTaps] = int(__dadd_rn(0.5, __dmul_rn(share, 1 << kFractionBits)));
  }
}

__device__ unsigned char rounded(int sum) {
  return static_cast<unsigned char>(min(sum >> kFractionBits, 255));
}

/// Filters the frame's rows [strip, strip + kStrip), the last row standing in for those behind it.
__device__ void filter_strip(const ResizeWithPadParams& p, int strip, Shared& shared) {
  const Axis axis{p.width, p.resized_width};
  const int column = int(threadIdx.x) % kTile;
  const Line& line = shared.columns[column];
  const std::uint8_t* from[kPasses];
  int sums[kPasses][kChannels];
#pragma unroll
  for (int i = 0; i < kPasses; ++i) {
    const int row = min(strip + int(threadIdx.x) / kTile + i * kTile, p.height - 1);
    from[i] = p.frame + row * p.row_stride + line.first * kChannels;
    for (int& sum : sums[i]) sum = kHalf;
  }
  const int most_taps = min(int(2 * fmax(scale_of(axis), 1.0)) + 2, p.width);
  for (int first_tap = 0; first_tap < most_taps; first_tap += kTaps) {
    fill_weights(
        axis, shared.columns, [&](const Line& l) { return l.first + first_tap; },
        shared.column_weights);
    __syncthreads();
    const int taps = min(line.end - line.first - first_tap, kTaps);
#pragma unroll 2
    for (int tap = 0; tap < taps; ++tap) {
      const int weight = shared.column_weights[column][tap];
#pragma unroll
      for (int i = 0; i < kPasses; ++i) {
        const std::uint8_t* pixel = from[i] + (first_tap + tap) * kChannels;
        for (int c = 0; c < kChannels; ++c) sums[i][c] += pixel[c] * weight;
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < kPasses; ++i) {
    shared.filtered[threadIdx.x / kTile + i * kTile][column] =
        make_uchar4(rounded(sums[i][0]), rounded(sums[i][1]), rounded(sums[i][2]), 0);
  }
}

/// The thread's pixel, column by row of the resized frame's tile at (left, top). Lines that lie in
/// the padding repeat the border's.
__device__ float3 antialiased(const ResizeWithPadParams& p, int top, int left, Shared& shared) {
  const Axis width{p.width, p.resized_width};
  const Axis height{p.height, p.resized_height};
  const int thread = int(threadIdx.x);
  if (thread < kTile) {
    shared.columns[thread] = line_of(width, min(max(left + thread, 0), p.resized_width - 1));
  } else if (thread < 2 * kTile) {
    const int row = top + thread - kTile;
    shared.rows[thread - kTile] = line_of(height, min(max(row, 0), p.resized_height - 1));
  }
  __syncthreads();
  const int first = shared.rows[0].first;
  const int end = shared.rows[kTile - 1].end;
  const Line& line = shared.rows[thread / kTile];
  int sums[kChannels] = {kHalf, kHalf, kHalf};
  for (int strip = first; strip < end; strip += kStrip) {
    filter_strip(p, strip, shared);
    fill_weights(
        height, shared.rows, [&](const Line&) { return strip; }, shared.row_weights);
    __syncthreads();
    const int last = min(line.end - strip, kStrip);
    for (int i = max(line.first - strip, 0); i < last; ++i) {
      const int weight = shared.row_weights[thread / kTile][i];
      const uchar4 pixel = shared.filtered[i][thread % kTile];
      sums[0] += pixel.x * weight;
      sums[1] += pixel.y * weight;
      sums[2] += pixel.z * weight;
    }
    __syncthreads();
  }
  const auto mapped = [](int sum) {
    return __fsub_rn(__fmul_rn(__fdiv_rn(rounded(sum), 255.0f), 2.0f), 1.0f);
  };
  return {mapped(sums[0]), mapped(sums[1]), mapped(sums[2])};
}

/// The two pixels that a resized pixel lies between, and its distance from the first.
struct Between {
  int first;
  int second;
  float fraction;
};

__device__ Between between(const Axis& axis, int index) {
  const float scale = __fdiv_rn(float(axis.extent), float(axis.resized));
  const float source = fmaxf(__fmaf_rn(scale, __fadd_rn(float(index), 0.5f), -0.5f), 0.0f);
  const int first = min(int(source), axis.extent - 1);
  return {first, min(first + 1, axis.extent - 1), fminf(__fsub_rn(source, float(first)), 1.0f)};
}

/// a (1 - fraction) + b fraction
__device__ float mixed(float a, float b, float fraction) {
  return __fadd_rn(__fmul_rn(a, __fsub_rn(1.0f, fraction)), __fmul_rn(b, fraction));
}

__device__ float3 bilinear(const ResizeWithPadParams& p, int y, int x) {
  const Between row = between({p.height, p.resized_height}, y);
  const Between column = between({p.width, p.resized_width}, x);
  float values[kChannels];
  for (int c = 0; c < kChannels; ++c) {
    const auto value = [&](int from_y, int from_x) {
      return __fdiv_rn(p.frame[from_y * p.row_stride + from_x * kChannels + c], 255.0f);
    };
    const auto in_row = [&](int from_y) {
      return mixed(value(from_y, column.first), value(from_y, column.second), column.fraction);
    };
    const float both = mixed(in_row(row.first), in_row(row.second), row.fraction);
    values[c] = __fsub_rn(__fmul_rn(fminf(fmaxf(both, 0.0f), 1.0f), 2.0f), 1.0f);
  }
  return {values[0], values[1], values[2]};
}

/// Writes the CTA's tile, padding included.
__device__ void resize_tile(const ResizeWithPadParams& p, Shared& shared) {
  const int tile_y = int(blockIdx.y) * kTile - p.top;
  const int tile_x = int(blockIdx.x) * kTile - p.left;
  const int y = tile_y + int(threadIdx.x) / kTile;
  const int x = tile_x + int(threadIdx.x) % kTile;
  const bool tile_is_seen = tile_y < p.resized_height && tile_y + kTile > 0 &&
                            tile_x < p.resized_width && tile_x + kTile > 0;
  const bool is_seen = y >= 0 && y < p.resized_height && x >= 0 && x < p.resized_width;
  float3 value{kBlack, kBlack, kBlack};
  if (p.filter == ResizeFilter::kAntialias && tile_is_seen) {
    const float3 inside = antialiased(p, tile_y, tile_x, shared);
    if (is_seen) value = inside;
  } else if (is_seen) {
    value = bilinear(p, y, x);
  }
  const int out_y = p.top + y;
  const int out_x = p.left + x;
  if (out_y >= p.size || out_x >= p.size) return;
  const std::int64_t area = std::int64_t(p.size) * p.size;
  float* out = p.out + std::int64_t(out_y) * p.size + out_x;
  out[0] = value.x;
  out[area] = value.y;
  out[2 * area] = value.z;
}

struct OneView {
  ResizeWithPadParams view;
  __device__ ResizeWithPadParams params() const { return view; }
};

struct Views {
  const ResizeWithPadParams* views;
  __device__ ResizeWithPadParams params() const { return views[blockIdx.z]; }
};

template <typename Source>
__global__ __launch_bounds__(kThreads,
                             3) void resize_kernel(const __grid_constant__ Source source) {
  __shared__ Shared shared;
  cuda::allow_next();
  cuda::wait_for_previous();
  resize_tile(source.params(), shared);
}

cuda::Launch config_for(int views, int size) {
  const int tiles = (size + kTile - 1) / kTile;
  return {
      .grid = dim3(tiles, tiles, views), .block = dim3(kThreads), .order = cuda::Order::kOverlap};
}

}  // namespace

void resize_with_pad_cuda(const ResizeWithPadParams& p, cudaStream_t stream) {
  cuda::launch(resize_kernel<OneView>, config_for(1, p.size), stream, {p});
}

void resize_views_cuda(const ResizeWithPadParams* views_on_device, int views, int size,
                       cudaStream_t stream) {
  cuda::launch(resize_kernel<Views>, config_for(views, size), stream, {views_on_device});
}

}  // namespace saccade::ops::detail
