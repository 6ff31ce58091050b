#include "runtime/runner.h"

#include "core/check.h"
#include "ops/image/resize_with_pad.h"
#include "ops/trace.h"
#include "runtime/stopwatch.h"

namespace saccade {
namespace {

using ops::detail::ResizeWithPadParams;

// Of a frame slot at load: 1920 x 1080 RGB. Larger frames take a larger slot when they come.
constexpr std::size_t kFrameBytes = std::size_t{1920} * 1080 * 3;

std::size_t bytes_of(const Frame& frame) {
  return std::size_t(frame.height) * std::size_t(frame.width) * 3;
}

}  // namespace

Runner::Runner(Engine& engine, ops::ResizeFilter filter) : engine_(engine), filter_(filter) {
  if (engine.stream.device == Device::kCpu) return;
  const int max_views = engine.pi->pixels().shape[0];
  copy_team_.emplace();
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

void Runner::set_frames(std::span<const Frame> frames) {
  views_ = int(frames.size());
  copies_.clear();
  const Tensor pixels = engine_.pi->pixels();
  const int size = pixels.shape[2];
  auto* geometry = static_cast<ResizeWithPadParams*>(pinned_geometry_.get());
  for (std::size_t view = 0; view < frames.size(); ++view) {
    const Frame& frame = frames[view];
    auto* out = pixels.rows(int(view), 1).as<float>();
    if (engine_.stream.device == Device::kCpu) {
      ops::detail::resize_with_pad_cpu(ops::detail::resize_with_pad_params(
          frame.pixels, frame.height, frame.width, size, filter_, out));
      continue;
    }
    FrameSlot& slot = slot_for(view, bytes_of(frame));
    geometry[view] =
        ops::detail::resize_with_pad_params(static_cast<const std::uint8_t*>(slot.device.get()),
                                            frame.height, frame.width, size, filter_, out);
    copies_.push_back({frame.pixels, slot.pinned.get(), bytes_of(frame)});
  }
  if (copy_team_) copy_team_->start(copies_);
}

void Runner::upload_frames() {
  for (std::size_t view = 0; view < copies_.size(); ++view) {
    copy_team_->finish(view);
    const FrameSlot& slot = slots_[view];
    cuda::enqueue_upload(engine_.stream, slot.pinned.get(), slot.device.get(), copies_[view].bytes);
  }
  copies_.clear();
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
