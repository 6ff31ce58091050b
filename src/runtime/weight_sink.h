#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>

#include "cuda/device.h"
#include "runtime/pack.h"
#include "saccade/ops/quantize.h"
#include "saccade/stream.h"

namespace saccade {

/// Rows of a matrix that has one scale for each.
ops::ScaledMatrix rows_of(const ops::ScaledMatrix&, int first, int count);

/// Takes packed weights to where they are used: straight into memory of the CPU, or through a few
/// pinned blocks to the GPU, so that packing one block overlaps with copying those before.
class WeightSink {
 public:
  /// Bytes of a block. On a GPU, what is quantised passes through one of its memory.
  static constexpr std::int64_t kBlockBytes = std::int64_t{48} << 20;

  explicit WeightSink(const Stream&);

  /// As saccade::pack, with `out` on the stream's device.
  bool pack(const io::WeightView&, ColumnRange, float added, Tensor out);

  /// `out`, with one scale for each row, as ops::quantize makes it of what is packed in bf16.
  bool quantize(const io::WeightView&, ColumnRange, float added, const ops::ScaledMatrix& out);

  /// Waits until everything has arrived.
  void finish();

 private:
  struct Block {
    std::shared_ptr<void> data;
    std::optional<cuda::Event> copied;  // while it is being copied
  };

  /// Takes packed elements of a weight, the first of which is element `first`.
  using Take = std::function<void(Block&, const Tensor& packed, std::int64_t first)>;

  Block& next_block();
  bool pack_blocks(const io::WeightView&, ColumnRange, float added, std::int64_t size, DType,
                   const Take&);
  void upload(Block&, const Tensor& packed, void* to);

  Stream stream_;
  std::array<Block, 4> blocks_;
  std::size_t next_ = 0;
  std::shared_ptr<void> unquantized_;  // a block on the GPU
};

}  // namespace saccade
