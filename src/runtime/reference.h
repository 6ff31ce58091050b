#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "io/safetensors.h"

namespace saccade {

/// A tensor of a reference file, widened to f32.
struct ReferenceTensor {
  std::vector<std::int64_t> extents;
  std::vector<float> values;

  std::int64_t extent(int axis) const;  // negative counts from the end
};

/// Inputs and intermediate results of a reference run (tests/golden/README.md).
class Reference {
 public:
  explicit Reference(const std::filesystem::path&);

  bool has(const std::string& name) const;

  /// A tensor of so many axes. Fails when it is absent or has others.
  ReferenceTensor read(const std::string& name, std::size_t rank) const;

  const std::filesystem::path& path() const { return file_.path(); }

  int batch() const { return batch_; }
  int views() const { return views_; }
  int steps() const { return steps_; }

  /// The parts of one element of the batch.
  std::vector<int> present_views(int element) const;
  std::vector<int> valid_tokens(int element) const;       // ids, without padding
  std::vector<int> valid_prefix_rows(int element) const;  // rows of "prefix.*" and "kv.*"
  std::vector<float> times() const;                       // "step.s.t"

 private:
  io::SafetensorsFile file_;
  int batch_ = 0;
  int views_ = 0;
  int steps_ = 0;
};

}  // namespace saccade
