#include "runtime/tile_timer.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "cuda/device.h"
#include "ops/gemm/gemm_sm90.h"
#include "runtime/graph_timer.h"
#include "runtime/weight_sink.h"
#include "saccade/ops/copy.h"
#include "saccade/ops/quantize.h"
#include "saccade/ops/sample.h"

namespace saccade {
namespace {

using ops::ScaledMatrix;
using ops::detail::Product;

constexpr auto kF32 = DType::kF32;
constexpr std::size_t kColdBytes = 120'000'000;  // twice the cache of an H200
constexpr int kFewestCopies = 3;
constexpr int kMostCopies = 200;
constexpr float kEps = 1e-6f;
constexpr int kColumnsPerPart = 32;

}  // namespace

/// Device memory that is filled with normal values.
struct TileTimer::Operands {
  Operands(const Stream& stream, const TiledProduct& of) : stream(stream), product(of) {
    const auto& [kind, type, m, n, k, most] = product.problem;
    const bool geglu = kind == Product::kGeglu;
    const bool scaled = type == DType::kE4m3;
    const DType narrow = scaled ? DType::kBf16 : type;
    const int weight_rows = kind == Product::kQkv ? product.tower.qkv() : n;
    const auto weight_bytes = std::size_t(weight_rows) * std::size_t(k) * size_of(type);
    copies = std::clamp(int(kColdBytes / weight_bytes) + 1, kFewestCopies, kMostCopies);
    weights = matrix(copies * weight_rows, k, type, 1 / std::sqrt(float(k)), 1);
    const bool in_blocks = scaled && kind == Product::kLinear;
    x = matrix(m, k, type, 1, in_blocks ? ops::scale_blocks(k) : 1);
    vector = noise({std::max(n, k)}, kF32, 1);
    const int columns = geglu ? n / 2 : weight_rows;
    const bool wide = product.residual || product.name == "projector";
    out = noise({m, columns}, wide ? kF32 : narrow, 1);
    if (scaled && geglu) quantized = empty(m, columns, ops::scale_blocks(columns));
    if (product.norm) x_squares = noise({m, k / kColumnsPerPart}, kF32, 1, kColumnsPerPart);
    if (product.next) {
      next = {.scale = vector.rows(0, n),
              .scaled = noise({m, columns}, DType::kBf16, 1),
              .squares = noise({m, most}, kF32, 1)};
    }
    if (kind == Product::kQkv) make_heads(m, narrow);
  }

  /// The stream that rows are rotated into, by positions that count up.
  void make_heads(int m, DType type) {
    const models::GemmaDims& d = product.tower;
    std::vector<std::int32_t> counting(static_cast<std::size_t>(m));
    for (int i = 0; i < m; ++i) counting[std::size_t(i)] = i;
    positions = allocate({m}, DType::kI32);
    ops::upload(stream, {counting.data(), {m}, DType::kI32, Device::kCpu}, positions);
    table = noise({m, d.head_dim}, kF32, 1);
    if (product.problem.n == d.qkv()) q = allocate({m, d.heads, d.head_dim}, type);
    key_cache = allocate({m, d.kv_heads, d.head_dim}, type);
    value_cache = allocate({m, d.kv_heads, d.head_dim}, type);
  }

  Tensor allocate(Shape shape, DType type) {
    Tensor tensor{nullptr, shape, type, Device::kCuda};
    memory.push_back(cuda::allocate(tensor.bytes()));
    tensor.data = memory.back().get();
    return tensor;
  }

  Tensor noise(Shape shape, DType type, float deviation, float mean = 0) {
    const Tensor tensor = allocate(shape, type);
    ops::normal_noise(stream, memory.size(), mean, deviation, tensor);
    return tensor;
  }

  ScaledMatrix empty(int rows, int columns, int blocks) {
    return {allocate({rows, columns}, DType::kE4m3), allocate({blocks, rows}, kF32)};
  }

  ScaledMatrix matrix(int rows, int columns, DType type, float deviation, int blocks) {
    if (type != DType::kE4m3) return noise({rows, columns}, type, deviation);
    const ScaledMatrix result = empty(rows, columns, blocks);
    ops::quantize(stream, noise({rows, columns}, DType::kBf16, deviation), result);
    cuda::synchronize(stream);
    memory.pop_back();
    return result;
  }

  ScaledMatrix weight(int copy) const {
    const int rows = weights.values.shape[0] / copies;
    if (!weights.scales) return weights.values.rows(copy * rows, rows);
    return rows_of(weights, copy * rows, rows);
  }

  ops::detail::GemmParams gemm(int copy) const {
    ops::GemmEpilogue epilogue{.activation = product.activation, .next = next};
    if (product.norm) epilogue.norm = {.squares = x_squares, .eps = kEps};
    if (product.bias) epilogue.bias = vector.rows(0, product.problem.n);
    if (product.residual) epilogue.residual = out;
    epilogue.quantized = quantized;
    return ops::detail::gemm_params(stream, x, weight(copy), epilogue, out);
  }

  ops::detail::QkvParams qkv(int copy) const {
    return {gemm(copy), ops::detail::rope_params("tiles", stream, out, positions, table, q,
                                                 key_cache, value_cache)};
  }

  const Stream& stream;
  TiledProduct product;
  std::vector<std::shared_ptr<void>> memory;
  int copies = 0;
  ScaledMatrix weights;  // of all copies, one below the other
  ScaledMatrix x;
  ScaledMatrix quantized;
  Tensor vector;  // for any bias or scale
  Tensor out;
  Tensor x_squares;
  ops::NormOutputs next;
  Tensor positions, table, q, key_cache, value_cache;
};

TileTimer::TileTimer(const Stream& stream, const TiledProduct& product)
    : stream_(stream), operands_(std::make_unique<Operands>(stream, product)) {
  cuda::synchronize(stream);
  const bool taken = product.problem.product == Product::kQkv
                         ? ops::detail::project_qkv_sm90_takes(operands_->qkv(0))
                         : ops::detail::gemm_sm90_takes(operands_->gemm(0));
  SACCADE_CHECK(taken, "tiles", "the kernels for Hopper do not take ", product.stage, " ",
                product.name, " of ", product.problem.m, " x ", product.problem.n, " x ",
                product.problem.k);
}

TileTimer::~TileTimer() = default;

void TileTimer::enqueue(int copy, const ops::detail::TileChoice& choice) const {
  if (operands_->product.problem.product == Product::kQkv) {
    return ops::detail::project_qkv_sm90(operands_->qkv(copy), choice, stream_.handle);
  }
  ops::detail::gemm_sm90(operands_->gemm(copy), choice, stream_.handle);
}

double TileTimer::us(const ops::detail::TileChoice& choice) const {
  enqueue(0, choice);  // loads the kernel ahead of the recording
  cuda::synchronize(stream_);
  return time_in_graph(stream_, operands_->copies, [&](int copy) { enqueue(copy, choice); });
}

}  // namespace saccade
