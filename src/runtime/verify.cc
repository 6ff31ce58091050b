#include "runtime/verify.h"

#include <algorithm>
#include <map>

#include "core/check.h"
#include "cuda/device.h"
#include "runtime/engine.h"
#include "runtime/realtime.h"
#include "runtime/reference.h"
#include "runtime/stage_errors.h"
#include "saccade/ops/copy.h"

namespace saccade {
namespace {

/// The rows of a stage in the reference that we compute: padded and missing ones are dropped.
/// Every stage is seen as [batch, rows, columns]; keys and values as [batch, heads, rows, columns].
class StageReader {
 public:
  StageReader(const Reference& reference, int element)
      : element_(element), prefix_rows_(reference.valid_prefix_rows(element)) {}

  /// Whether a stage of ours has the rows and columns that the reference's valid part has.
  bool fits(const std::string& stage, const ReferenceTensor& tensor, Tensor ours) const {
    if (is_prefix(stage) && !prefix_rows_.empty() && prefix_rows_.back() >= rows_in(tensor)) {
      return false;
    }
    return ours.shape[0] == rows(stage, tensor) &&
           ours.shape.size() == rows(stage, tensor) * columns(tensor);
  }

  /// Visits (index into ours, index into the reference's values) of a stage that fits.
  template <typename Visit>
  void each(const std::string& stage, const ReferenceTensor& tensor, Visit visit) const {
    const std::int64_t heads = heads_in(tensor);
    const std::int64_t width = tensor.extent(-1);
    for (std::int64_t head = 0; head < heads; ++head) {
      for (std::int64_t row = 0; row < rows(stage, tensor); ++row) {
        const std::int64_t from = is_prefix(stage) ? prefix_rows_[std::size_t(row)] : row;
        const std::int64_t theirs = ((element_ * heads + head) * rows_in(tensor) + from) * width;
        const std::int64_t ours = row * columns(tensor) + head * width;
        for (std::int64_t i = 0; i < width; ++i) {
          visit(std::size_t(ours + i), std::size_t(theirs + i));
        }
      }
    }
  }

 private:
  static bool is_prefix(const std::string& stage) {
    return stage.starts_with("kv.") || stage.starts_with("prefix.");
  }
  static std::int64_t heads_in(const ReferenceTensor& tensor) {
    return tensor.extents.size() == 4 ? tensor.extent(1) : 1;
  }
  static std::int64_t rows_in(const ReferenceTensor& tensor) {
    return tensor.extents.size() == 2 ? 1 : tensor.extent(-2);
  }
  static std::int64_t columns(const ReferenceTensor& tensor) {
    return heads_in(tensor) * tensor.extent(-1);
  }
  std::int64_t rows(const std::string& stage, const ReferenceTensor& tensor) const {
    return is_prefix(stage) ? std::int64_t(prefix_rows_.size()) : rows_in(tensor);
  }

  int element_;
  std::vector<int> prefix_rows_;
};

std::size_t rank_of(const std::string& stage) {
  return stage.starts_with("kv.") ? 4 : stage.ends_with(".cond") ? 2 : 3;
}

class Verifier {
 public:
  Verifier(Engine& engine, const Reference& reference, const Reference* yardstick)
      : engine_(engine), reference_(reference), yardstick_(yardstick) {}

  void run(int element) {
    models::Pi& pi = *engine_.pi;
    const std::vector<int> views = reference_.present_views(element);
    const std::vector<int> tokens = reference_.valid_tokens(element);
    SACCADE_CHECK(!views.empty(), "verify", reference_.path().string(), " masks every camera");
    SACCADE_CHECK(!tokens.empty(), "verify", reference_.path().string(), " masks every token");
    fill_inputs(element, views, tokens);

    const StageReader reader(reference_, element);
    const models::Probe probe = [&](const std::string& stage, Tensor tensor) {
      compare(reader, reference_stage(stage, views), tensor);
    };
    const Stream& stream = engine_.stream;
    const int rows = pi.prefix_rows(int(views.size()), int(tokens.size()));
    const int seen = int(views.size()) * engine_.dims.vision.tokens() + int(tokens.size());
    upload_inputs();
    pi.see(stream, int(views.size()), probe);
    pi.read_prompt(stream, int(views.size()), rows, probe, seen);
    for (int step = 0; step < pi.steps(); ++step) {
      copy_element("step." + std::to_string(step) + ".x", element, engine_.host_inputs.x);
      upload_inputs();
      pi.step(stream, step, rows, probe);
      compare(reader, "step." + std::to_string(step) + ".next", pi.inputs().x);
    }
    copy_element("in.noise", element, engine_.host_inputs.x);
    upload_inputs();
    for (int step = 0; step < pi.steps(); ++step) pi.step(stream, step, rows);
    compare(reader, "actions", pi.inputs().x);
    for (int view = 0; view < reference_.views(); ++view) {
      if (std::find(views.begin(), views.end(), view) == views.end()) ++missing_[view];
    }
  }

  std::vector<StageError> finish(double rtol, double yardstick_factor) const {
    std::vector<StageError> stages;
    for (const std::string& name : order_) stages.push_back(judge(name, rtol, yardstick_factor));
    for (const auto& [view, times] : missing_) {
      if (times < reference_.batch()) continue;
      StageError dropped;
      dropped.stage = "vision." + std::to_string(view);
      dropped.computed = false;
      dropped.note = "the camera is missing and not computed";
      stages.push_back(dropped);
    }
    return stages;
  }

 private:
  /// "vision.0" is the first camera that is there, not the reference's first.
  static std::string reference_stage(const std::string& stage, const std::vector<int>& views) {
    if (!stage.starts_with("vision.")) return stage;
    return "vision." + std::to_string(views[std::size_t(std::stoi(stage.substr(7)))]);
  }

  /// The whole block of inputs, on a GPU.
  void upload_inputs() {
    if (engine_.stream.device == Device::kCpu) return;
    cuda::upload(engine_.stream, engine_.host_memory.data(), engine_.inputs.data(),
                 engine_.inputs.used_bytes());
  }

  void fill_inputs(int element, const std::vector<int>& views, const std::vector<int>& tokens) {
    const models::Pi::Inputs& inputs = engine_.host_inputs;
    const Tensor pixels = engine_.pi->pixels();
    for (std::size_t i = 0; i < views.size(); ++i) {
      const Tensor view = pixels.rows(int(i), 1);
      std::vector<float> values(std::size_t(view.shape.size()));
      const Tensor host{values.data(), view.shape, DType::kF32, Device::kCpu};
      copy_element("in.image." + std::to_string(views[i]), element, host);
      ops::upload(engine_.stream, host, view);
    }
    for (int token : tokens) {
      SACCADE_CHECK(token >= 0 && token < engine_.dims.vocabulary, "verify",
                    reference_.path().string(), ": token ", token, " is outside the vocabulary of ",
                    engine_.dims.vocabulary);
    }
    std::copy(tokens.begin(), tokens.end(), inputs.tokens.as<int>());
    engine_.pi->write_lengths(inputs, int(views.size()), int(tokens.size()));
    if (inputs.state) copy_element("in.state", element, inputs.state);
    if (reference_.has("in.previous")) fill_guidance(element);
  }

  /// Of real-time chunking: the previous chunk, zeros behind it, and the weight of each row.
  void fill_guidance(int element) {
    const models::Pi::Inputs& inputs = engine_.host_inputs;
    const ReferenceTensor rows = reference_.read("in.row_weights", 2);
    const ReferenceTensor limit = reference_.read("in.max_guidance_weight", 1);
    const int chunk = inputs.x.shape[0];
    SACCADE_CHECK(rows.extents[1] == chunk, "verify", reference_.path().string(),
                  ": in.row_weights has ", rows.extents[1], " values, a chunk ", chunk, " rows");
    const auto first = rows.values.begin() + std::ptrdiff_t(element) * chunk;
    write_guidance(inputs, {}, std::vector<double>(first, first + chunk), engine_.pi->times(),
                   double(limit.values[std::size_t(element)]));
    copy_element("in.previous", element, inputs.previous);
  }

  void copy_element(const std::string& name, int element, Tensor out) const {
    const std::size_t rank = name.starts_with("in.image.") ? 4 : name == "in.state" ? 2 : 3;
    const ReferenceTensor tensor = reference_.read(name, rank);
    const auto size = std::size_t(out.shape.size());
    SACCADE_CHECK(tensor.values.size() == size * std::size_t(reference_.batch()), "verify",
                  reference_.path().string(), ": ", name, " has ", tensor.values.size(),
                  " values, the model takes ", out.shape.str(), " for each of a batch of ",
                  reference_.batch());
    std::copy_n(tensor.values.begin() + std::ptrdiff_t(size) * element, size, out.as<float>());
  }

  void compare(const StageReader& reader, const std::string& stage, Tensor result) {
    if (!reference_.has(stage)) return;
    const Tensor ours = host_.read(engine_.stream, result);
    const ReferenceTensor reference = reference_.read(stage, rank_of(stage));
    SACCADE_CHECK(reader.fits(stage, reference, ours), "verify", reference_.path().string(), ": ",
                  stage, " does not fit our ", ours.shape.str());
    if (errors_.count(stage) == 0) order_.push_back(stage);
    ErrorSums& sums = errors_[stage];
    const std::vector<float> values = widened(ours);
    reader.each(stage, reference, [&](std::size_t mine, std::size_t theirs) {
      sums.add(values[mine], reference.values[theirs]);
    });
    if (yardstick_ == nullptr) return;
    const ReferenceTensor lossy = yardstick_->read(stage, rank_of(stage));
    SACCADE_CHECK(lossy.extents == reference.extents, "verify", yardstick_->path().string(), ": ",
                  stage, " has another shape than in the reference");
    ErrorSums& lossy_sums = yardstick_errors_[stage];
    reader.each(stage, reference, [&](std::size_t, std::size_t theirs) {
      lossy_sums.add(lossy.values[theirs], reference.values[theirs]);
    });
  }

  StageError judge(const std::string& name, double rtol, double yardstick_factor) const {
    // Below this the yardstick ran the stage in f32, and so must we.
    constexpr double kExact = 1e-5;
    const ErrorSums& sums = errors_.at(name);
    StageError stage;
    stage.stage = name;
    stage.max_abs = sums.max_abs;
    stage.relative = sums.relative();
    if (yardstick_ == nullptr) {
      stage.passed = stage.relative <= rtol;
      return stage;
    }
    stage.yardstick = yardstick_errors_.at(name).relative();
    const double bound = stage.yardstick < kExact ? rtol : yardstick_factor * stage.yardstick;
    stage.passed = stage.relative <= bound;
    return stage;
  }

  Engine& engine_;
  const Reference& reference_;
  const Reference* yardstick_;
  std::vector<std::string> order_;
  std::map<std::string, ErrorSums> errors_;
  std::map<std::string, ErrorSums> yardstick_errors_;
  HostReader host_;
  std::map<int, int> missing_;  // view to elements of the batch without it
};

}  // namespace

VerifyReport verify(const std::filesystem::path& checkpoint, const VerifyOptions& options) {
  const Reference reference(options.reference);
  std::optional<Reference> yardstick;
  if (!options.yardstick.empty()) yardstick.emplace(options.yardstick);

  const io::CheckpointFiles files = io::find_checkpoint(checkpoint);
  io::PolicyConfig config = io::read_policy_config(files, options.load);
  config.chunk = int(reference.read("in.noise", 3).extent(1));
  config.steps = reference.steps();
  config.max_prompt_tokens = int(reference.read("in.tokens", 2).extent(1));

  EngineOptions engine_options;
  engine_options.stream = open_stream(options.load.device);
  engine_options.precision = precision_on(*engine_options.stream, options.load);
  engine_options.max_views = reference.views();
  engine_options.prefix_output = reference.has("prefix.out");
  engine_options.times = reference.times();
  engine_options.progress = options.load.progress;
  Engine engine =
      make_engine(make_blueprint(files, config, engine_options), config, engine_options);

  Verifier verifier(engine, reference, yardstick ? &*yardstick : nullptr);
  for (int element = 0; element < reference.batch(); ++element) verifier.run(element);

  VerifyReport report;
  report.info = describe(files, config, engine, engine_options.precision);
  report.rtol = options.rtol.value_or(engine.stream.device == Device::kCuda ? 1e-3 : 1e-4);
  report.stages = verifier.finish(report.rtol, options.yardstick_factor);
  for (const StageError& stage : report.stages) report.passed = report.passed && stage.passed;
  return report;
}

}  // namespace saccade
