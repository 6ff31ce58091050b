#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "saccade/error.h"
#include "saccade/stream.h"
#include "saccade/tensor.h"

namespace saccade {

enum class Model : std::uint8_t { kPi0, kPi05 };

/// Whose preprocessing and postprocessing is followed; they give different actions.
enum class Mode : std::uint8_t { kOpenpi, kLerobot };

/// Type of activations and matrix weights. kF32 keeps weights as the checkpoint stores them; kBf16
/// runs SigLIP in f16 on a GPU, and in f32 on the CPU; kFp8 multiplies e4m3 with scales, and is
/// kBf16 in everything else.
enum class Precision : std::uint8_t { kF32, kBf16, kFp8 };

/// The precision of every stage. kF32 is that of all three or of none, and kFp8 not that of vision.
struct Precisions {
  Precision vision = Precision::kF32;
  Precision prefix = Precision::kF32;
  Precision expert = Precision::kF32;

  Precisions() = default;
  Precisions(Precision vision, Precision prefix, Precision expert)
      : vision(vision), prefix(prefix), expert(expert) {}

  /// Of the whole policy, whose vision stays in kBf16 beside kFp8.
  Precisions(Precision all)
      : vision(all == Precision::kFp8 ? Precision::kBf16 : all), prefix(all), expert(all) {}

  bool operator==(const Precisions&) const = default;
};

const char* name_of(Model);              // "pi05"
const char* name_of(Mode);               // "lerobot"
const char* name_of(Precision);          // "f32"
std::string name_of(const Precisions&);  // "fp8", or "vision=bf16,prefix=bf16,expert=fp8"

/// Reports progress of long work: what is being done, and the bytes done and in all.
using Progress =
    std::function<void(std::string_view what, std::uint64_t done, std::uint64_t total)>;

/// What a user may set beside the checkpoint. Values that are not given come from its files.
struct LoadOptions {
  std::optional<Model> model;            // else from config.json, else from the tensors present
  std::optional<Mode> mode;              // else from the checkpoint's layout
  std::optional<Device> device;          // else the GPU if one is there
  std::optional<Precisions> precision;   // else bf16 on a GPU, f32 on the CPU
  std::optional<double> auto_precision;  // in place of it: the fastest whose actions differ from
                                         // the most exact one's by at most this, measured at load
  std::optional<int> steps;              // denoising steps; else the checkpoint's, else 10
  std::optional<int> chunk;              // actions in a chunk; else the checkpoint's, else 50
  std::optional<int> max_prompt_tokens;  // else the checkpoint's, else 48 (Pi0) or 200 (Pi0.5)
  std::optional<int> vision_heads;       // SigLIP's heads, where the tensors do not tell
  std::string openpi_config;             // an openpi train config, such as "pi05_libero"
  std::filesystem::path statistics;      // norm_stats.json or a LeRobot statistics file
  std::filesystem::path tokenizer;       // a SentencePiece model
  Progress progress;
};

/// The bound of LoadOptions::auto_precision that "auto" stands for.
inline constexpr double kAutoPrecisionBound = 0.05;

/// Sets the precision that a user asks for: "f32", "bf16", "fp8", a mix such as
/// "prefix=fp8,expert=fp8" whose other stages are bf16, "auto", or "auto:0.02" with a bound.
void set_precision(std::string_view text, LoadOptions&);

/// One camera frame: 8-bit RGB, [height, width, 3]. The pixels are the caller's, and stay as they
/// are until the inference has returned. A policy on a GPU resizes those in its memory where they
/// lie.
struct Frame {
  const std::uint8_t* pixels = nullptr;
  int height = 0;
  int width = 0;
  Device device = Device::kCpu;  // kCuda: in the memory of the policy's GPU
  std::int64_t row_stride = 0;   // bytes from one row to the next; 0: 3 * width
};

/// Bytes from one row of a frame to the next.
inline std::int64_t row_stride_of(const Frame& frame) {
  return frame.row_stride != 0 ? frame.row_stride : 3 * std::int64_t{frame.width};
}

/// How far the previous chunk holds its rows behind those that will have been executed: all up to
/// the horizon in the same way, not at all, or less and less, as LeRobot's schedules do.
enum class Schedule : std::uint8_t { kLinear, kExp, kOnes, kZeros };

/// The schedule of a name: "linear", "exp", "ones" or "zeros".
Schedule parse_schedule(std::string_view name);
const char* name_of(Schedule);

/// Real-time chunking: the new chunk continues the one that is being executed. LeRobot's "guided"
/// mode, which every policy can do.
///
///   each step at time t:  v -= strength(t) weights[row] (previous[row] - (x - t v))
///   strength(t) = min(max_weight, (t^2 + (1 - t)^2) / (t (1 - t)))
///
/// Weights are 1 for rows below inference_delay, then follow the schedule, and are 0 from
/// min(execution_horizon, rows) on.
struct RealTime {
  std::vector<float> previous;  // [rows, action_dim], physical units: what is left of the chunk
                                // before; row 0 is executed when the new chunk's row 0 would be
  int rows = 0;                 // at most the chunk's; without any, nothing is guided
  int inference_delay = 0;      // rows that will have been executed when the new chunk is there
  int execution_horizon = 10;   // rows of the previous chunk that guide
  Schedule schedule = Schedule::kLinear;
  double max_weight = 10;
};

/// What the robot sees and is told. Cameras that are not given count as missing.
struct Observation {
  std::map<std::string, Frame> frames;      // by the policy's camera names
  CUstream_st* stream = nullptr;            // whose work so far frames in GPU memory wait for: the
                                            // stream that wrote them; null: CUDA's legacy default
                                            // stream, Policy::stream(): nothing is left to wait for
  std::vector<double> state;                // physical units
  std::optional<std::string> prompt;        // else the policy's own, if its configuration has one
  std::optional<std::vector<int>> tokens;   // in place of a prompt
  std::uint64_t seed = 0;                   // of the noise, unless it is given
  std::optional<std::vector<float>> noise;  // [chunk, max_action_dim], row-major
  std::optional<RealTime> realtime;         // else the chunk begins anew
};

/// Wall time of one part of an inference.
struct StageTime {
  std::string stage;
  double ms = 0;
};

/// Actions in physical units, row-major.
struct ActionChunk {
  int actions = 0;            // rows
  int action_dim = 0;         // columns
  std::vector<float> values;  // [actions, action_dim]
  std::vector<int> tokens;    // what the model was prompted with
  std::vector<StageTime> times;
  std::vector<std::string> warnings;  // sentences, such as that a prompt was cut
};

/// What a loaded policy is and expects.
struct PolicyInfo {
  Model model = Model::kPi0;
  Mode mode = Mode::kOpenpi;
  Device device = Device::kCpu;
  Precisions precision;
  std::string layout;  // "lerobot", "openpi" or "orbax"
  int steps = 0;
  int chunk = 0;
  int state_dim = 0;  // 0: not known, any up to max_state_dim
  int max_state_dim = 0;
  int action_dim = 0;
  int max_action_dim = 0;
  int image_size = 0;
  int max_prompt_tokens = 0;
  bool state_in_prompt = false;
  std::vector<std::string> cameras;       // in the order the model sees them
  std::vector<std::string> action_names;  // empty when the checkpoint has none
  std::uint64_t parameters = 0;
  std::uint64_t weight_bytes = 0;
  std::uint64_t buffer_bytes = 0;  // activations, caches, tables and inputs
  std::vector<std::string> warnings;
  std::vector<std::string> notes;  // sentences: what loading decided by measuring
};

/// A robot policy, loaded once and asked for one chunk of actions after the other.
/// Several may live in one process. A Policy is used by one thread at a time.
class Policy {
 public:
  /// Reads a LeRobot directory, an openpi PyTorch directory, an openpi JAX (Orbax) directory or a
  /// single safetensors file. Throws InvalidArgument with one sentence that names what is wrong.
  static Policy load(const std::filesystem::path& checkpoint, const LoadOptions& = {});

  Policy(Policy&&) noexcept;
  Policy& operator=(Policy&&) noexcept;
  ~Policy();

  const PolicyInfo& info() const;

  /// The CUDA stream that the policy runs on, which lives as long as it; null on the CPU. What is
  /// enqueued there before an inference has happened when it reads its frames.
  CUstream_st* stream() const;

  /// Throws InvalidArgument when the observation does not fit the policy, and when an action comes
  /// out that is not finite.
  ActionChunk infer(const Observation&);

 private:
  struct State;
  explicit Policy(std::unique_ptr<State>);
  std::unique_ptr<State> state_;
};

}  // namespace saccade
