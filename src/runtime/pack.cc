#include "runtime/pack.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>

#include "core/bf16.h"
#include "core/check.h"
#include "core/f16.h"
#include "core/parallel.h"

namespace saccade {
namespace {

float widen(double value) { return static_cast<float>(value); }
float widen(float value) { return value; }
float widen(bf16 value) { return to_float(value); }
float widen(f16 value) { return to_float(value); }

/// Elements of a view as four axes, the missing outer ones of extent 1.
struct Axes {
  std::array<std::int64_t, 4> extents{1, 1, 1, 1};
  std::array<std::int64_t, 4> strides{0, 0, 0, 0};
};

Axes axes_of(const io::WeightView& view, ColumnRange columns) {
  const std::size_t rank = view.extents.size();
  Axes axes;
  for (std::size_t i = 0; i < rank; ++i) {
    axes.extents[4 - rank + i] = view.extents[i];
    axes.strides[4 - rank + i] = view.strides[i];
  }
  if (columns.count > 0) axes.extents[3] = columns.count;
  return axes;
}

// A tile of this many rows and columns stays in the first-level cache, so that a transposed view
// is read a cache line at a time although its rows are far apart.
constexpr std::int64_t kTile = 32;

template <typename In, typename Out>
struct Packer {
  float added;
  bool finite = true;

  void copy_row(const In* in, std::int64_t stride, std::int64_t count, Out* out) {
    constexpr std::uint32_t kExponent = 0x7f800000;  // all ones in NaN and infinity
    // An integer reduction, because the compiler does not vectorise one over floats.
    std::uint32_t bad = 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const float value = widen(in[i * stride]);
      bad |= std::uint32_t((std::bit_cast<std::uint32_t>(value) & kExponent) == kExponent);
      out[i] = from_float<Out>(value + added);
    }
    finite = finite && bad == 0;
  }

  void copy_plane(const In* in, std::int64_t rows, std::int64_t columns, std::int64_t row_stride,
                  std::int64_t column_stride, Out* out) {
    if (column_stride == 1) {
      for (std::int64_t r = 0; r < rows; ++r) {
        copy_row(in + r * row_stride, 1, columns, out + r * columns);
      }
      return;
    }
    for (std::int64_t r0 = 0; r0 < rows; r0 += kTile) {
      const std::int64_t r1 = std::min(rows, r0 + kTile);
      for (std::int64_t c0 = 0; c0 < columns; c0 += kTile) {
        const std::int64_t count = std::min(columns - c0, kTile);
        for (std::int64_t r = r0; r < r1; ++r) {
          copy_row(in + r * row_stride + c0 * column_stride, column_stride, count,
                   out + r * columns + c0);
        }
      }
    }
  }
};

template <typename In, typename Out>
bool pack_as(const io::WeightView& view, ColumnRange columns, float added, Tensor out) {
  const Axes a = axes_of(view, columns);
  const auto* in = reinterpret_cast<const In*>(view.data) + columns.first * a.strides[3];
  Packer<In, Out> packer{added};
  Out* next = out.as<Out>();
  for (std::int64_t i = 0; i < a.extents[0]; ++i) {
    for (std::int64_t j = 0; j < a.extents[1]; ++j) {
      packer.copy_plane(in + i * a.strides[0] + j * a.strides[1], a.extents[2], a.extents[3],
                        a.strides[2], a.strides[3], next);
      next += a.extents[2] * a.extents[3];
    }
  }
  return packer.finite;
}

template <typename In>
bool pack_from(const io::WeightView& view, ColumnRange columns, float added, Tensor out) {
  switch (out.dtype) {
    case DType::kF32:
      return pack_as<In, float>(view, columns, added, out);
    case DType::kF16:
      return pack_as<In, f16>(view, columns, added, out);
    default:
      return pack_as<In, bf16>(view, columns, added, out);
  }
}

bool pack_range(const io::WeightView& view, ColumnRange columns, float added, Tensor out) {
  switch (view.dtype) {
    case io::FileDType::kF64:
      return pack_from<double>(view, columns, added, out);
    case io::FileDType::kF32:
      return pack_from<float>(view, columns, added, out);
    case io::FileDType::kF16:
      return pack_from<f16>(view, columns, added, out);
    case io::FileDType::kBf16:
      return pack_from<bf16>(view, columns, added, out);
    default:
      return false;  // check_packable() refuses these
  }
}

void check_packable(const io::WeightView& view) {
  SACCADE_CHECK(view.extents.size() <= 4, "pack", "a weight has ", view.extents.size(),
                " axes, at most 4 are supported");
  SACCADE_CHECK(is_packable(view.dtype), "pack", "weights of type ", io::name_of(view.dtype),
                " are not supported");
}

}  // namespace

bool is_packable(io::FileDType dtype) {
  return dtype == io::FileDType::kF64 || dtype == io::FileDType::kF32 ||
         dtype == io::FileDType::kF16 || dtype == io::FileDType::kBf16;
}

bool pack(const io::WeightView& view, ColumnRange columns, float added, Tensor out) {
  // Below this a thread costs more than it saves.
  constexpr std::int64_t kElementsPerThread = 1 << 20;
  check_packable(view);
  const std::int64_t outer = view.extents.empty() ? 1 : view.extents[0];
  const std::int64_t inner = outer == 0 ? 0 : out.shape.size() / outer;
  if (outer * inner < 2 * kElementsPerThread) return pack_range(view, columns, added, out);

  std::atomic<bool> finite{true};
  parallel_ranges(outer, kElementsPerThread / inner + 1, [&](std::int64_t begin, std::int64_t end) {
    io::WeightView part = view;
    part.data += begin * view.strides[0] * std::int64_t(io::size_of(view.dtype));
    part.extents[0] = end - begin;
    Tensor window = out;
    window.data = out.as<std::byte>() + begin * inner * std::int64_t(size_of(out.dtype));
    if (!pack_range(part, columns, added, window)) finite = false;
  });
  return finite;
}

}  // namespace saccade
