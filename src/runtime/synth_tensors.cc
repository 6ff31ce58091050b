#include "runtime/synth_tensors.h"

#include <cmath>
#include <utility>

namespace saccade {
namespace {

struct Tower {
  std::int64_t layers;
  std::int64_t width;
  std::int64_t mlp;
};

struct SynthDims {
  Tower vision;
  Tower prefix;
  Tower expert;
  std::int64_t patches;
  std::int64_t head_dim;
  std::int64_t vocabulary;
};

constexpr SynthDims kTiny{{2, 48, 72}, {3, 64, 128}, {3, 32, 64}, 4, 16, 512};
constexpr SynthDims kFull{{27, 1152, 4304}, {18, 2048, 16384}, {18, 1024, 4096}, 256, 256, 257152};
constexpr std::int64_t kPatch = 14;
constexpr std::int64_t kQueryHeads = 8;
constexpr std::int64_t kMaxDim = 32;  // of the padded state and action

/// Collects tensors. Activations stay O(1) because a matrix has a std of fan_in^-0.5.
class TensorList {
 public:
  void add(std::string name, io::FileDType dtype, std::vector<std::int64_t> extents, double mean,
           double std) {
    tensors_.push_back({{std::move(name), dtype, std::move(extents)},
                        static_cast<float>(mean),
                        static_cast<float>(std)});
  }

  void matrix(const std::string& name, std::int64_t out, std::int64_t in,
              io::FileDType dtype = io::FileDType::kBf16, double gain = 1) {
    add(name + ".weight", dtype, {out, in}, 0, gain / std::sqrt(double(in)));
  }

  void linear(const std::string& name, std::int64_t out, std::int64_t in,
              io::FileDType dtype = io::FileDType::kBf16, double gain = 1) {
    matrix(name, out, in, dtype, gain);
    add(name + ".bias", dtype, {out}, 0, kBiasStd);
  }

  void layer_norm(const std::string& name, std::int64_t width) {
    add(name + ".weight", io::FileDType::kBf16, {width}, 1, kNormStd);
    add(name + ".bias", io::FileDType::kBf16, {width}, 0, kBiasStd);
  }

  /// Gemma's norms scale by (1 + weight); adaptive ones take scale, shift and gate from the time.
  void rms_norm(const std::string& name, std::int64_t width, bool adaptive) {
    if (adaptive) {
      linear(name + ".dense", 3 * width, width, io::FileDType::kF32, kAdaptiveGain);
    } else {
      add(name + ".weight", io::FileDType::kF32, {width}, 0, kNormStd);
    }
  }

  std::vector<SynthTensor> take() { return std::move(tensors_); }

  static constexpr double kBiasStd = 0.02;
  static constexpr double kNormStd = 0.1;
  static constexpr double kPositionStd = 0.05;
  static constexpr double kAdaptiveGain = 0.5;

 private:
  std::vector<SynthTensor> tensors_;
};

void add_vision(TensorList& list, const SynthDims& dims, const std::string& root) {
  const auto [layers, width, mlp] = dims.vision;
  const std::string patch = root + "embeddings.patch_embedding.";
  list.add(patch + "weight", io::FileDType::kF32, {width, 3, kPatch, kPatch}, 0,
           1 / std::sqrt(3.0 * kPatch * kPatch));
  list.add(patch + "bias", io::FileDType::kF32, {width}, 0, TensorList::kBiasStd);
  list.add(root + "embeddings.position_embedding.weight", io::FileDType::kF32,
           {dims.patches, width}, 0, TensorList::kPositionStd);
  for (std::int64_t i = 0; i < layers; ++i) {
    const std::string layer = root + "encoder.layers." + std::to_string(i) + ".";
    list.layer_norm(layer + "layer_norm1", width);
    for (const char* name : {"q_proj", "k_proj", "v_proj", "out_proj"}) {
      list.linear(layer + "self_attn." + name, width, width);
    }
    list.layer_norm(layer + "layer_norm2", width);
    list.linear(layer + "mlp.fc1", mlp, width);
    list.linear(layer + "mlp.fc2", width, mlp);
  }
  list.layer_norm(root + "post_layernorm", width);
}

void add_gemma(TensorList& list, const Tower& tower, std::int64_t head_dim, bool adaptive,
               const std::string& root) {
  const auto [layers, width, mlp] = tower;
  for (std::int64_t i = 0; i < layers; ++i) {
    const std::string layer = root + "layers." + std::to_string(i) + ".";
    list.rms_norm(layer + "input_layernorm", width, adaptive);
    list.matrix(layer + "self_attn.q_proj", kQueryHeads * head_dim, width);
    list.matrix(layer + "self_attn.k_proj", head_dim, width);
    list.matrix(layer + "self_attn.v_proj", head_dim, width);
    list.matrix(layer + "self_attn.o_proj", width, kQueryHeads * head_dim);
    list.rms_norm(layer + "post_attention_layernorm", width, adaptive);
    list.matrix(layer + "mlp.gate_proj", mlp, width);
    list.matrix(layer + "mlp.up_proj", mlp, width);
    list.matrix(layer + "mlp.down_proj", width, mlp);
  }
  list.rms_norm(root + "norm", width, adaptive);
}

void add_suffix(TensorList& list, Model model, std::int64_t width) {
  constexpr auto kF32 = io::FileDType::kF32;
  list.linear("action_in_proj", width, kMaxDim, kF32);
  list.linear("action_out_proj", kMaxDim, width, kF32);
  if (model == Model::kPi0) {
    list.linear("state_proj", width, kMaxDim, kF32);
    list.linear("action_time_mlp_in", width, 2 * width, kF32);
    list.linear("action_time_mlp_out", width, width, kF32);
  } else {
    list.linear("time_mlp_in", width, width, kF32);
    list.linear("time_mlp_out", width, width, kF32);
  }
}

}  // namespace

std::vector<SynthTensor> synth_tensors(Model model, SynthSize size) {
  const SynthDims& dims = size == SynthSize::kTiny ? kTiny : kFull;
  const std::string paligemma = "paligemma_with_expert.paligemma.";
  TensorList list;
  add_suffix(list, model, dims.expert.width);
  add_vision(list, dims, paligemma + "model.vision_tower.vision_model.");
  list.linear(paligemma + "model.multi_modal_projector.linear", dims.prefix.width,
              dims.vision.width);
  list.matrix(paligemma + "lm_head", dims.vocabulary, dims.prefix.width);
  add_gemma(list, dims.prefix, dims.head_dim, false, paligemma + "model.language_model.");
  add_gemma(list, dims.expert, dims.head_dim, model == Model::kPi05,
            "paligemma_with_expert.gemma_expert.model.");
  return list.take();
}

int synth_chunk(SynthSize size) { return size == SynthSize::kTiny ? 6 : 50; }

int synth_image_size(SynthSize size) {
  const auto patches = size == SynthSize::kTiny ? kTiny.patches : kFull.patches;
  return static_cast<int>(kPatch * std::lround(std::sqrt(double(patches))));
}

}  // namespace saccade
