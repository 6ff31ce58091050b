#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace saccade::io::orbax {

/// A canonical tensor inside a slab of an Orbax array. The elements in row-major order of
/// `view_extents` are those of the tensor in row-major order of `extents`; the view has more axes
/// where PyTorch merges axes that are not neighbours in the array.
struct Placement {
  std::string canonical;
  std::string index;        // into the leaf, for messages: "[3]" or "[3,1]"
  std::int64_t layer = 0;   // the slab
  std::int64_t offset = 0;  // in elements of the slab
  std::vector<std::int64_t> extents;
  std::vector<std::int64_t> view_extents;
  std::vector<std::int64_t> view_strides;
};

struct LeafPlacement {
  bool layered = false;  // a slab is one index of the first axis, otherwise the whole array
  std::vector<Placement> tensors;  // empty for a leaf that openpi's PyTorch model does not have
};

/// Where the tensors of openpi's PyTorch model lie in a leaf of its JAX model, such as
/// "PaliGemma/llm/layers/mlp/gating_einsum". Fails when a known leaf has unexpected axes.
LeafPlacement place_leaf(const std::string& leaf, const std::vector<std::int64_t>& extents);

}  // namespace saccade::io::orbax
