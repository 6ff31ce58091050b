#include "runtime/cameras.h"

#include <algorithm>
#include <sstream>

#include "core/check.h"
#include "cuda/device.h"

namespace saccade {
namespace {

std::string join(const std::vector<std::string>& names) {
  std::ostringstream text;
  for (std::size_t i = 0; i < names.size(); ++i) text << (i > 0 ? ", " : "") << names[i];
  return text.str();
}

std::size_t find_camera(const io::PolicyConfig& config, const std::string& name) {
  for (std::size_t i = 0; i < config.cameras.size(); ++i) {
    const bool known = config.cameras[i] == name ||
                       (i < config.camera_names.size() && config.camera_names[i] == name);
    if (known) return i;
  }
  const auto& names = config.camera_names.empty() ? config.cameras : config.camera_names;
  fail("infer", "the policy has no camera '", name, "', only ", join(names));
}

void check_frame(const std::string& camera, const Frame& frame, const Stream& stream) {
  SACCADE_CHECK(frame.pixels != nullptr && frame.height > 0 && frame.width > 0, "infer",
                "the frame of camera '", camera, "' is empty: ", frame.height, " x ", frame.width);
  SACCADE_CHECK(row_stride_of(frame) >= 3 * std::int64_t{frame.width}, "infer",
                "the frame of camera '", camera, "' has rows of ", 3 * std::int64_t{frame.width},
                " bytes, ", frame.row_stride, " bytes apart");
  if (frame.device == Device::kCpu) return;
  SACCADE_CHECK(stream.device == Device::kCuda, "infer", "the frame of camera '", camera,
                "' is in GPU memory, the policy runs on the CPU");
  SACCADE_CHECK(cuda::is_device_memory(frame.pixels), "infer", "the frame of camera '", camera,
                "' is said to be in GPU memory, its pixels are not in that of the policy's GPU");
}

}  // namespace

std::vector<Frame> ordered_frames(const io::PolicyConfig& config, const Stream& stream,
                                  const std::map<std::string, Frame>& frames) {
  std::vector<Frame> by_camera(config.cameras.size());
  for (const auto& [name, frame] : frames) {
    const auto& ignored = config.ignored_cameras;
    if (std::find(ignored.begin(), ignored.end(), name) != ignored.end()) continue;
    const std::size_t i = find_camera(config, name);
    SACCADE_CHECK(by_camera[i].pixels == nullptr, "infer", "camera '", name, "' is given twice");
    check_frame(name, frame, stream);
    by_camera[i] = frame;
  }
  std::vector<Frame> present;
  for (const Frame& frame : by_camera) {
    if (frame.pixels != nullptr) present.push_back(frame);
  }
  SACCADE_CHECK(!present.empty(), "infer", "no camera frame is given; the policy sees ",
                join(config.cameras));
  SACCADE_CHECK(config.mode != Mode::kOpenpi || by_camera[0].pixels != nullptr, "infer", "camera '",
                config.cameras[0], "' is missing, which openpi's policies require");
  return present;
}

}  // namespace saccade
