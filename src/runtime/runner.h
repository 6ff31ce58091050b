#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "cuda/device.h"
#include "runtime/copy_team.h"
#include "runtime/engine.h"
#include "saccade/ops/image.h"

namespace saccade {

/// Parts of an inference, for benches.
enum class Part { kAll, kVision, kPrefix, kSteps };

/// Runs a model on frames and host inputs. On a GPU every inference is one replay of a graph, from
/// 8-bit frames to normalised actions; graphs are recorded when the runner is made.
class Runner {
 public:
  Runner(Engine&, ops::ResizeFilter);

  /// Takes the frames of the views, in order, and starts to copy the pixels of those on the host,
  /// which stay as they are until upload() or run(). Those in GPU memory are read where they lie,
  /// by each run behind the work that `writer` holds by now, and stay as they are until the last.
  void set_frames(std::span<const Frame>, CUstream_st* writer);

  /// Runs the frames and engine.host_inputs, of which `tokens` tokens are the prompt's, and leaves
  /// the actions in engine.host_inputs.x. Reports the time of each part.
  void run(int tokens, std::vector<StageTime>& times);

  /// Runs the same op by op, and shows each stage to the probe. The actions stay on the device.
  void run_probed(int tokens, const models::Probe&);

  /// The recorded graph of so many views and tokens.
  const cuda::Graph& graph(int views, int tokens) const;

  /// Records one part of an inference. A trace sees the ops, with a section for vision, for the
  /// prefix and for each step.
  cuda::Graph record(Part, int views, int tokens, OpTrace* = nullptr) const;

  /// Copies inputs and frames to the device. On the CPU they are there.
  void upload(int tokens);

 private:
  struct FrameSlot {
    std::shared_ptr<void> pinned;
    std::shared_ptr<void> device;
    std::size_t capacity = 0;
  };

  struct Staged {
    std::size_t view;
    std::size_t bytes;
  };

  void enqueue_part(const Stream&, Part, int views, int prefix_rows, const models::Probe& = {},
                    int reported_rows = 0) const;
  void run_on_cpu(int tokens, std::vector<StageTime>&);
  void run_on_cuda(int tokens, std::vector<StageTime>&);
  FrameSlot& slot_for(std::size_t view, std::size_t bytes);
  const std::uint8_t* stage(std::size_t view, const Frame&);
  void wait_for(CUstream_st* writer);
  void upload_frames();

  Engine& engine_;
  ops::ResizeFilter filter_;
  int views_ = 0;
  std::vector<FrameSlot> slots_;
  std::vector<Staged> staged_;             // frames on their way to the device
  std::vector<CopyTeam::Copy> copies_;     // to pinned memory, one for each of them
  std::shared_ptr<void> geometry_;         // resize parameters of every view, on the device
  std::shared_ptr<void> pinned_geometry_;  // the same, on the host
  std::map<std::pair<int, int>, cuda::Graph> graphs_;  // by views and prefix rows
  std::optional<CopyTeam> copy_team_;                  // on a GPU
  std::optional<cuda::Event> frames_are_written_;      // the same
};

}  // namespace saccade
