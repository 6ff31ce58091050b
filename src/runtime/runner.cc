#include "runtime/runner.h"

#include <cstring>

#include "core/check.h"
#include "ops/image/resize_with_pad.h"
#include "ops/trace.h"
#include "runtime/stopwatch.h"

namespace saccade {
namespace {

using ops::detail::ResizeWithPadParams;

// Of a frame slot at load: 1920 x 1080 RGB. Larger frames take a larger slot when they come.
constexpr std::size_t kFrameBytes = std::size_t{1920} * 1080 * 3;

std::size_t row_bytes_of(const Frame& frame) { return std::size_t(frame.width) * 3; }

std::size_t bytes_of(const Frame& frame) { return std::size_t(frame.height) * row_bytes_of(frame); }

void pack_rows(const Frame& frame, std::uint8_t* to) {
  const std::size_t row_bytes = row_bytes_of(frame);
  for (int y = 0; y < frame.height; ++y) {
    std::memcpy(to + std::size_t(y) * row_bytes, frame.pixels + y * row_stride_of(frame),
                row_bytes);
  }
}

}  // namespace

Runner::Runner(Engine& engine, ops::ResizeFilter filter) : engine_(engine), filter_(filter) {
  if (engine.stream.device == Device::kCpu) return;
  const int max_views = engine.pi->pixels().shape[0];
  copy_team_.emplace();
  frames_are_written_.emplace();
  slots_.resize(std::size_t(max_views));
  for (std::size_t view = 0; view < slots_.size(); ++view) slot_for(view, kFrameBytes);
  geometry_ = cuda::allocate(slots_.size() * sizeof(ResizeWithPadParams));
  pinned_geometry_ = cuda::allocate_pinned(slots_.size() * sizeof(ResizeWithPadParams));
  for (int views = 1; views <= max_views; ++views) {
    for (int tokens = 0;; ++tokens) {
      const int rows = engine.pi->prefix_rows(views, tokens);
      if (rows > engine.pi->prefix_rows(views, engine.max_prompt_tokens)) break;
      cuda::Graph& graph = graphs_[{views, rows}];
      if (graph) continue;
      graph = record(Part::kAll, views, tokens);
    }
  }
}

Runner::FrameSlot& Runner::slot_for(std::size_t view, std::size_t bytes) {
  FrameSlot& slot = slots_[view];
  if (slot.capacity >= bytes) return slot;
  slot.pinned = cuda::allocate_pinned(bytes);
  slot.device = cuda::allocate(bytes);
  slot.capacity = bytes;
  return slot;
}

void Runner::set_frames(std::span<const Frame> frames, CUstream_st* writer) {
  views_ = int(frames.size());
  copies_.clear();
  staged_.clear();
  const Tensor pixels = engine_.pi->pixels();
  const int size = pixels.shape[2];
  auto* geometry = static_cast<ResizeWithPadParams*>(pinned_geometry_.get());
  bool any_on_device = false;
  for (std::size_t view = 0; view < frames.size(); ++view) {
    const Frame& frame = frames[view];
    ResizeWithPadParams params =
        ops::detail::resize_with_pad_params(frame.pixels, frame.height, frame.width, size, filter_,
                                            pixels.rows(int(view), 1).as<float>());
    any_on_device |= frame.device == Device::kCuda;
    if (frame.device == engine_.stream.device) {
      params.row_stride = row_stride_of(frame);
    } else {
      params.frame = stage(view, frame);
    }
    if (engine_.stream.device == Device::kCpu) {
      ops::detail::resize_with_pad_cpu(params);
    } else {
      geometry[view] = params;
    }
  }
  if (any_on_device) wait_for(writer);
  if (copy_team_) copy_team_->start(copies_);
}

/// Has the pixels of a frame on the host put into pinned memory, without gaps. Returns where they
/// will be on the device.
const std::uint8_t* Runner::stage(std::size_t view, const Frame& frame) {
  FrameSlot& slot = slot_for(view, bytes_of(frame));
  CopyTeam::Copy copy{frame.pixels, slot.pinned.get(), bytes_of(frame)};
  if (row_stride_of(frame) != std::int64_t(row_bytes_of(frame))) {
    pack_rows(frame, static_cast<std::uint8_t*>(slot.pinned.get()));
    copy.bytes = 0;
  }
  copies_.push_back(copy);
  staged_.push_back({view, bytes_of(frame)});
  return static_cast<const std::uint8_t*>(slot.device.get());
}

/// The policy's stream is a non-blocking one: it does not even wait for the default stream by
/// itself.
void Runner::wait_for(CUstream_st* writer) {
  if (writer == engine_.stream.handle) return;
  frames_are_written_->record(Stream{Device::kCuda, writer});
  frames_are_written_->hold(engine_.stream);
}

void Runner::upload_frames() {
  for (std::size_t i = 0; i < staged_.size(); ++i) {
    copy_team_->finish(i);
    const FrameSlot& slot = slots_[staged_[i].view];
    cuda::enqueue_upload(engine_.stream, slot.pinned.get(), slot.device.get(), staged_[i].bytes);
  }
  staged_.clear();
}

void Runner::enqueue_part(const Stream& stream, Part part, int views, int prefix_rows,
                          const models::Probe& probe, int reported_rows) const {
  models::Pi& pi = *engine_.pi;
  const auto open_section = [&](const char* name) {
    if (stream.trace != nullptr) stream.trace->open_section(name);
  };
  if (part == Part::kAll || part == Part::kVision) {
    open_section("vision");
    const Tensor pixels = pi.pixels().rows(0, views);
    if (stream.device == Device::kCuda && ops::detail::may_run(stream, "resize_views", pixels)) {
      ops::detail::resize_views_cuda(static_cast<const ResizeWithPadParams*>(geometry_.get()),
                                     views, pixels.shape[2], stream.handle);
    }
    pi.see(stream, views, probe);
  }
  if (part == Part::kAll || part == Part::kPrefix) {
    open_section("prefix");
    pi.read_prompt(stream, views, prefix_rows, probe, reported_rows);
  }
  if (part == Part::kAll || part == Part::kSteps) {
    for (int step = 0; step < pi.steps(); ++step) {
      open_section("steps");
      pi.step(stream, step, prefix_rows, probe);
    }
  }
}

cuda::Graph Runner::record(Part part, int views, int tokens, OpTrace* trace) const {
  const int rows = engine_.pi->prefix_rows(views, tokens);
  Stream stream = engine_.stream;
  stream.trace = trace;
  return cuda::Graph(stream, [&] { enqueue_part(stream, part, views, rows); });
}

const cuda::Graph& Runner::graph(int views, int tokens) const {
  return graphs_.at({views, engine_.pi->prefix_rows(views, tokens)});
}

void Runner::upload(int tokens) {
  engine_.pi->write_lengths(engine_.host_inputs, views_, tokens);
  if (engine_.stream.device == Device::kCpu) return;
  upload_frames();
  cuda::enqueue_upload(engine_.stream, pinned_geometry_.get(), geometry_.get(),
                       slots_.size() * sizeof(ResizeWithPadParams));
  cuda::enqueue_upload(engine_.stream, engine_.host_memory.data(), engine_.inputs.data(),
                       engine_.inputs.used_bytes());
}

void Runner::run(int tokens, std::vector<StageTime>& times) {
  if (engine_.stream.device == Device::kCpu) return run_on_cpu(tokens, times);
  run_on_cuda(tokens, times);
}

void Runner::run_probed(int tokens, const models::Probe& probe) {
  upload(tokens);
  const int seen = views_ * engine_.dims.vision.tokens() + tokens;
  const int rows = engine_.pi->prefix_rows(views_, tokens);
  enqueue_part(engine_.stream, Part::kAll, views_, rows, probe, seen);
}

void Runner::run_on_cpu(int tokens, std::vector<StageTime>& times) {
  upload(tokens);
  const int rows = engine_.pi->prefix_rows(views_, tokens);
  Stopwatch watch(times);
  enqueue_part(engine_.stream, Part::kVision, views_, rows);
  watch.mark("vision");
  enqueue_part(engine_.stream, Part::kPrefix, views_, rows);
  watch.mark("prefix");
  enqueue_part(engine_.stream, Part::kSteps, views_, rows);
  watch.mark("steps");
}

void Runner::run_on_cuda(int tokens, std::vector<StageTime>& times) {
  Stopwatch watch(times);
  upload(tokens);
  graph(views_, tokens).launch(engine_.stream);
  const Tensor x = engine_.pi->inputs().x;
  cuda::enqueue_download(engine_.stream, x.data, engine_.host_inputs.x.data, x.bytes());
  cuda::synchronize(engine_.stream);
  watch.mark("model");
}

}  // namespace saccade
