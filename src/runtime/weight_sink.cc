#include "runtime/weight_sink.h"

#include <algorithm>

#include "core/check.h"

namespace saccade {
namespace {

constexpr std::int64_t kBlockBytes = std::int64_t{48} << 20;

/// The window [begin, begin + count) of a view's outermost axis.
io::WeightView outer_range(io::WeightView view, std::int64_t begin, std::int64_t count) {
  view.data += begin * view.strides[0] * std::int64_t(io::size_of(view.dtype));
  view.extents[0] = count;
  return view;
}

}  // namespace

WeightSink::WeightSink(const Stream& stream) : stream_(stream) {}

WeightSink::Block& WeightSink::next_block() {
  std::unique_ptr<Block>& block = blocks_[next_];
  next_ = (next_ + 1) % blocks_.size();
  if (!block) {
    block = std::make_unique<Block>();
    block->data = cuda::allocate_pinned(std::size_t(kBlockBytes));
  }
  if (block->in_flight) block->copied.wait();
  block->in_flight = false;
  return *block;
}

bool WeightSink::pack(const io::WeightView& view, ColumnRange columns, float added, Tensor out) {
  if (stream_.device == Device::kCpu) return saccade::pack(view, columns, added, out);
  const std::int64_t outer = view.extents.empty() ? 1 : view.extents[0];
  if (outer == 0) return true;
  const std::int64_t slice = out.shape.size() / outer;  // elements
  const std::int64_t slice_bytes = slice * std::int64_t(size_of(out.dtype));
  SACCADE_CHECK(slice_bytes <= kBlockBytes, "load", "a weight of ", out.shape.str(),
                " has rows of more than ", kBlockBytes, " bytes");
  const std::int64_t step =
      std::max<std::int64_t>(1, kBlockBytes / std::max<std::int64_t>(1, slice_bytes));
  bool finite = true;
  for (std::int64_t begin = 0; begin < outer; begin += step) {
    const std::int64_t count = std::min(step, outer - begin);
    Block& block = next_block();
    const Tensor packed{block.data.get(), {int(count), int(slice)}, out.dtype, Device::kCpu};
    const bool whole = view.extents.empty();
    finite &= saccade::pack(whole ? view : outer_range(view, begin, count), columns, added, packed);
    cuda::enqueue_upload(stream_, block.data.get(), out.as<std::byte>() + begin * slice_bytes,
                         packed.bytes());
    block.copied.record(stream_);
    block.in_flight = true;
  }
  return finite;
}

void WeightSink::finish() {
  if (stream_.device == Device::kCuda) cuda::synchronize(stream_);
}

}  // namespace saccade
