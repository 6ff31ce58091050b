#include "runtime/weight_sink.h"

#include <algorithm>
#include <cstdlib>
#include <new>

#include "core/check.h"

namespace saccade {
namespace {

/// The window [begin, begin + count) of a view's outermost axis.
io::WeightView outer_range(io::WeightView view, std::int64_t begin, std::int64_t count) {
  view.data += begin * view.strides[0] * std::int64_t(io::size_of(view.dtype));
  view.extents[0] = count;
  return view;
}

std::shared_ptr<void> allocate_block(Device device) {
  constexpr auto kBytes = std::size_t(WeightSink::kBlockBytes);
  if (device == Device::kCuda) return cuda::allocate_pinned(kBytes);
  void* block = std::malloc(kBytes);
  if (block == nullptr) throw std::bad_alloc();
  return {block, std::free};
}

}  // namespace

ops::ScaledMatrix rows_of(const ops::ScaledMatrix& matrix, int first, int count) {
  Tensor scales = matrix.scales;
  scales.data = scales.as<float>() + first;
  scales.shape = {1, count};
  return {matrix.values.rows(first, count), scales};
}

WeightSink::WeightSink(const Stream& stream) : stream_(stream) {}

WeightSink::Block& WeightSink::next_block() {
  Block& block = blocks_[next_];
  if (stream_.device == Device::kCuda) next_ = (next_ + 1) % blocks_.size();
  if (!block.data) block.data = allocate_block(stream_.device);
  if (block.copied) block.copied->wait();
  block.copied.reset();
  return block;
}

bool WeightSink::pack_blocks(const io::WeightView& view, ColumnRange columns, float added,
                             std::int64_t size, DType dtype, const Take& take) {
  const std::int64_t outer = view.extents.empty() ? 1 : view.extents[0];
  if (outer == 0) return true;
  const std::int64_t slice = size / outer;  // elements
  const std::int64_t slice_bytes = slice * std::int64_t(size_of(dtype));
  SACCADE_CHECK(slice_bytes <= kBlockBytes, "load", "a weight's outermost slice has ", slice_bytes,
                " bytes, more than ", kBlockBytes);
  const std::int64_t step = kBlockBytes / std::max<std::int64_t>(1, slice_bytes);
  bool finite = true;
  for (std::int64_t begin = 0; begin < outer; begin += step) {
    const std::int64_t count = std::min(step, outer - begin);
    Block& block = next_block();
    const Tensor packed{block.data.get(), {int(count), int(slice)}, dtype, Device::kCpu};
    const bool whole = view.extents.empty();
    finite &= saccade::pack(whole ? view : outer_range(view, begin, count), columns, added, packed);
    take(block, packed, begin * slice);
  }
  return finite;
}

void WeightSink::upload(Block& block, const Tensor& packed, void* to) {
  cuda::enqueue_upload(stream_, packed.data, to, packed.bytes());
  block.copied.emplace().record(stream_);
}

bool WeightSink::pack(const io::WeightView& view, ColumnRange columns, float added, Tensor out) {
  if (stream_.device == Device::kCpu) return saccade::pack(view, columns, added, out);
  return pack_blocks(view, columns, added, out.shape.size(), out.dtype,
                     [&](Block& block, const Tensor& packed, std::int64_t first) {
                       const auto offset = first * std::int64_t(size_of(out.dtype));
                       upload(block, packed, out.as<std::byte>() + offset);
                     });
}

bool WeightSink::quantize(const io::WeightView& view, ColumnRange columns, float added,
                          const ops::ScaledMatrix& out) {
  const int row_size = out.values.shape[1];
  const auto take = [&](Block& block, const Tensor& packed, std::int64_t first) {
    const int rows = int(packed.shape.size() / row_size);  // one or more for each slice
    Tensor x = packed.reshaped({rows, row_size});
    if (stream_.device == Device::kCuda) {
      // The stream keeps the copy behind the kernel that reads what was there before.
      if (!unquantized_) unquantized_ = cuda::allocate(std::size_t(kBlockBytes));
      x.data = unquantized_.get();
      x.device = Device::kCuda;
      upload(block, packed, x.data);
    }
    ops::quantize(stream_, x, rows_of(out, int(first / row_size), rows));
  };
  return pack_blocks(view, columns, added, out.values.shape.size(), DType::kBf16, take);
}

void WeightSink::finish() {
  if (stream_.device == Device::kCuda) cuda::synchronize(stream_);
}

}  // namespace saccade
