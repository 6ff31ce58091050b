// Any bytes are either refused in a sentence or are an observation whose frames and numbers lie in
// the message or in memory of their own.

#include <cmath>
#include <cstdint>
#include <cstdlib>

#include "saccade/error.h"
#include "server/environment.h"
#include "server/msgpack.h"

namespace {

using namespace saccade;
using namespace saccade::server;

void require(bool condition) {
  if (!condition) std::abort();
}

PolicyInfo three_cameras() {
  PolicyInfo info;
  info.cameras = {"base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb"};
  return info;
}

void check_observation(const Observation& observation) {
  for (double value : observation.state) require(std::isfinite(value));
  unsigned sum = 0;
  for (const auto& [camera, frame] : observation.frames) {
    require(frame.height > 0 && frame.width > 0);
    const std::size_t size = std::size_t(frame.height) * std::size_t(frame.width) * 3;
    for (std::size_t i = 0; i < size; ++i) sum += frame.pixels[i];
  }
  require(sum < ~0u);  // so that the reads are not removed
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Environment environments[] = {make_environment("aloha", "", three_cameras()),
                                             make_environment("droid", "", three_cameras()),
                                             make_environment("libero", "", three_cameras()),
                                             make_environment("", "", three_cameras())};
  try {
    const Value value = decode_message({reinterpret_cast<const std::byte*>(data), size});
    valid_utf8(describe(value));
    for (const Environment& environment : environments) {
      try {
        check_observation(decode_observation(environment, value).observation);
      } catch (const InvalidArgument&) {
      }
    }
  } catch (const InvalidArgument&) {
  }
  return 0;
}
