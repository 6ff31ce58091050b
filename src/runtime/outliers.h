#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/bf16.h"
#include "models/weights.h"
#include "saccade/policy.h"
#include "saccade/stream.h"

// Trained transformers have a few channels whose activations are some tens of times larger than all
// others, at nearly every token and in the same channels of every layer (Dettmers et al. 2022,
// arXiv:2208.07339; Xiao et al. 2022, arXiv:2211.10438). What quantises has to be tried with such
// channels, and random weights have none.
//
// Here one channel of 512 is an outlier, at least one of a tower: in the residual streams of the
// three towers, and in the hidden layers of their MLPs. All that writes it is scaled by
// kOutlierGain, so that in every layer it is so many times as large as an ordinary one, and the
// weights that read it by kOutlierReadGain, so that it rules no product. Unlike those of trained
// weights, these channels have either sign, and no token has more of them than others.
namespace saccade {

inline constexpr float kOutlierGain = 32;
inline constexpr float kOutlierReadGain = 0.25f;

/// What is scaled of one tensor: rows are its outermost axis, columns of a matrix the other.
struct OutlierScaling {
  std::vector<std::int64_t> rows = {};
  std::vector<std::int64_t> columns = {};
  float row_factor = 1;
  float column_factor = 1;

  explicit operator bool() const { return !rows.empty() || !columns.empty(); }

  /// Scales the elements from `first` on of a tensor whose rows have `row_size` elements.
  template <typename T>
  void apply(std::int64_t row_size, std::int64_t first, std::span<T> elements) const {
    const auto scale = [&](std::int64_t index, float factor) {
      if (index < first || index >= first + std::int64_t(elements.size())) return;
      T& element = elements[std::size_t(index - first)];
      element = from_float<T>(to_float(element) * factor);
    };
    for (const std::int64_t row : rows) {
      for (std::int64_t i = 0; i < row_size; ++i) scale(row * row_size + i, row_factor);
    }
    const std::int64_t first_row = first / row_size;
    const std::int64_t end_row = (first + std::int64_t(elements.size()) - 1) / row_size + 1;
    for (std::int64_t row = first_row; row < end_row; ++row) {
      for (const std::int64_t column : columns) scale(row * row_size + column, column_factor);
    }
  }
};

/// Of a tensor by its canonical name. The seed decides which channels are outliers.
OutlierScaling outlier_scaling(Model, std::string_view name, std::span<const std::int64_t> extents,
                               std::uint64_t seed);

/// Scales weights that are packed already.
void add_outliers(Model, const models::WeightList&, const Stream&);

}  // namespace saccade
