#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace saccade::io {

/// Element types that checkpoint files use for weights.
enum class FileDType : std::uint8_t { kF64, kF32, kF16, kBf16, kI64, kI32, kI16, kI8, kU8, kBool };

std::size_t size_of(FileDType);
const char* name_of(FileDType);  // "BF16", as safetensors writes it

/// One tensor, oriented as PyTorch stores it (Linear: [out, in]; convolution: [out, in, y, x]).
struct WeightInfo {
  std::string name;  // as the checkpoint calls it, for messages
  FileDType dtype = FileDType::kF32;
  std::vector<std::int64_t> extents;  // outermost first

  std::int64_t size() const;  // elements
  std::uint64_t bytes() const;
  std::string shape() const;  // "[1152, 3, 14, 14]"
};

/// Strided window onto a tensor's elements in a mapped or decompressed file. Its elements in
/// row-major order are the tensor's in row-major order; an axis of the tensor may be several of
/// the window (8 heads x 256 for 2048 rows), at most 4 axes for tensors with a canonical name.
struct WeightView {
  const std::byte* data = nullptr;  // element [0, 0, ...]; aligned to the element
  FileDType dtype = FileDType::kF32;
  std::vector<std::int64_t> extents;
  std::vector<std::int64_t> strides;  // in elements
};

/// The weights of a checkpoint under canonical names: openpi's PyTorch keys, without a "model."
/// prefix, with the "vision_model." level, e.g.
/// "paligemma_with_expert.paligemma.model.language_model.layers.0.self_attn.q_proj.weight".
/// Tensors that have no canonical name keep the checkpoint's own.
class WeightSource {
 public:
  virtual ~WeightSource() = default;

  virtual const std::map<std::string, WeightInfo>& tensors() const = 0;

  /// The elements of a tensor of tensors(). Valid until the next call of read() or release().
  /// Reading layers in ascending order is cheap; going back may decode a chunk again.
  virtual WeightView read(const std::string& canonical_name) = 0;

  /// Says that the tensor has been copied, so that its pages need not stay in memory.
  virtual void release(const std::string& canonical_name) = 0;
};

/// One safetensors file, or the shards that a *.safetensors.index.json lists.
std::unique_ptr<WeightSource> open_safetensors(const std::filesystem::path& file_or_index);

/// The params directory of an Orbax checkpoint: OCDBT, or one zarr directory per array.
std::unique_ptr<WeightSource> open_orbax(const std::filesystem::path& params_directory);

}  // namespace saccade::io
