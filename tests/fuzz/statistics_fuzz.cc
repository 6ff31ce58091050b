// Any text is either refused in a sentence or gives statistics that can be computed with.

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "io/statistics.h"
#include "saccade/error.h"

namespace {

using namespace saccade::io;

void require(bool condition) {
  if (!condition) std::abort();
}

void check_scaling(Normalization kind, const FeatureStatistics& statistics, bool openpi,
                   Direction direction) {
  try {
    const Scaling s = scaling(kind, statistics, 1e-6, openpi, direction, !openpi, "fuzz");
    require(s.center.size() == s.range.size());
    for (double center : s.center) require(std::isfinite(center));
    for (double range : s.range) {
      require(std::isfinite(range) && (range != 0 || direction == Direction::kInverse));
    }
  } catch (const saccade::InvalidArgument&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    for (const auto& [feature, statistics] : parse_norm_stats(text, "fuzz")) {
      for (auto kind : {Normalization::kIdentity, Normalization::kMeanStd, Normalization::kMinMax,
                        Normalization::kQuantiles, Normalization::kQuantile10}) {
        for (bool openpi : {false, true}) {
          check_scaling(kind, statistics, openpi, Direction::kForward);
          check_scaling(kind, statistics, openpi, Direction::kInverse);
        }
      }
    }
  } catch (const saccade::InvalidArgument&) {
  }
  return 0;
}
