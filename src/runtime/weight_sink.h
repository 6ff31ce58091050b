#pragma once

#include <array>
#include <memory>

#include "cuda/device.h"
#include "runtime/pack.h"
#include "saccade/stream.h"

namespace saccade {

/// Takes packed weights to where they are used: straight into memory of the CPU, or through a few
/// pinned blocks to the GPU, so that packing one block overlaps with copying those before.
class WeightSink {
 public:
  explicit WeightSink(const Stream&);

  /// As saccade::pack, with `out` on the stream's device.
  bool pack(const io::WeightView&, ColumnRange, float added, Tensor out);

  /// Waits until everything has arrived.
  void finish();

 private:
  struct Block {
    std::shared_ptr<void> data;
    cuda::Event copied;
    bool in_flight = false;
  };

  Block& next_block();

  Stream stream_;
  std::array<std::unique_ptr<Block>, 4> blocks_;
  std::size_t next_ = 0;
};

}  // namespace saccade
