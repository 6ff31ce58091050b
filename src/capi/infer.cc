#include <algorithm>
#include <chrono>
#include <cstring>
#include <iterator>
#include <limits>
#include <string>

#include "capi/policy_handle.h"
#include "capi/sized.h"
#include "capi/status.h"
#include "core/check.h"
#include "saccade.h"

namespace saccade::capi {
namespace {

constexpr auto kWhere = "infer";

/// Frames beyond it are no camera's, and their bytes still fit 64 bits.
constexpr int kMaxExtent = 1 << 16;

using Clock = std::chrono::steady_clock;

template <typename T>
void check_array(const char* name, const T* values, std::size_t count) {
  SACCADE_CHECK(values != nullptr || count == 0, kWhere, name, " is NULL, its count is ", count);
}

/// The name that the policy knows the camera of a frame by.
std::string camera_of(const saccade_frame& frame, const std::string& at,
                      const std::vector<std::string>& cameras) {
  if (frame.camera != nullptr) {
    SACCADE_CHECK(frame.camera_index == 0, kWhere, at, " has a camera and a camera_index, ",
                  frame.camera_index);
    return frame.camera;
  }
  SACCADE_CHECK(frame.camera_index >= 0 && std::size_t(frame.camera_index) < cameras.size(), kWhere,
                at, ".camera_index is ", frame.camera_index, ", the policy has ", cameras.size(),
                " cameras");
  return cameras[std::size_t(frame.camera_index)];
}

void check_frame(const saccade_frame& frame, const std::string& at) {
  SACCADE_CHECK(frame.reserved[0] == 0 && frame.reserved[1] == 0, kWhere, at,
                ".reserved must be 0");
  if (frame.memory != SACCADE_HOST_MEMORY && frame.memory != SACCADE_DEVICE_MEMORY) {
    throw NotSupported("[infer] " + at + ".memory is " + std::to_string(frame.memory) +
                       ", this version reads frames in host memory and in device memory");
  }
  SACCADE_CHECK(frame.pixels != nullptr, kWhere, at, ".pixels must not be NULL");
  const auto fits = [](int extent) { return extent > 0 && extent <= kMaxExtent; };
  SACCADE_CHECK(fits(frame.height) && fits(frame.width), kWhere, at, " is ", frame.height, " x ",
                frame.width, ", it must be 1 x 1 to ", kMaxExtent, " x ", kMaxExtent);
  SACCADE_CHECK(frame.row_stride == 0 || frame.row_stride >= 3 * std::int64_t(frame.width), kWhere,
                at, ".row_stride is ", frame.row_stride, ", a row of ", frame.width, " pixels has ",
                3 * std::int64_t(frame.width), " bytes");
}

void take_frames(const PolicyInfo& info, const saccade_observation& given, Observation& taken) {
  check_array("observation.frames", given.frames, given.frame_count);
  for (std::size_t i = 0; i < given.frame_count; ++i) {
    const saccade_frame& frame = given.frames[i];
    const std::string at = "observation.frames[" + std::to_string(i) + "]";
    check_frame(frame, at);
    const std::string camera = camera_of(frame, at, info.cameras);
    const bool is_first = taken.frames.try_emplace(camera).second;
    SACCADE_CHECK(is_first, kWhere, at, " is a second frame of camera '", camera, "'");
    const Device device = frame.memory == SACCADE_HOST_MEMORY ? Device::kCpu : Device::kCuda;
    taken.frames[camera] = {frame.pixels, frame.height, frame.width, device, frame.row_stride};
  }
}

RealTime take_realtime(const saccade_realtime* pointer, const PolicyInfo& info) {
  constexpr Schedule kSchedules[] = {Schedule::kLinear, Schedule::kExp, Schedule::kOnes,
                                     Schedule::kZeros};
  const saccade_realtime given = read_sized(kWhere, "observation.realtime", pointer);
  if (given.mode == SACCADE_REALTIME_TRAINED) {
    throw NotSupported(
        "[infer] observation.realtime.mode is SACCADE_REALTIME_TRAINED, this "
        "version has the guided mode only");
  }
  SACCADE_CHECK(given.mode == SACCADE_REALTIME_GUIDED, kWhere, "observation.realtime.mode is ",
                given.mode, ", it must be SACCADE_REALTIME_GUIDED");
  SACCADE_CHECK(given.schedule >= 0 && std::size_t(given.schedule) < std::size(kSchedules), kWhere,
                "observation.realtime.schedule is ", given.schedule, ", it must be from 0 to ",
                std::size(kSchedules) - 1);
  SACCADE_CHECK(given.reserved == 0, kWhere, "observation.realtime.reserved must be 0");
  SACCADE_CHECK(given.previous_action_count >= 0 && given.previous_action_count <= info.chunk,
                kWhere, "observation.realtime.previous_action_count is ",
                given.previous_action_count, ", it must be from 0 to the chunk's ", info.chunk);
  const std::size_t count = std::size_t(given.previous_action_count) * std::size_t(info.action_dim);
  check_array("observation.realtime.previous_actions", given.previous_actions, count);
  RealTime taken;
  if (count > 0) taken.previous.assign(given.previous_actions, given.previous_actions + count);
  taken.rows = given.previous_action_count;
  taken.inference_delay = given.inference_delay;
  if (given.execution_horizon != 0) taken.execution_horizon = given.execution_horizon;
  taken.schedule = kSchedules[given.schedule];
  if (given.max_guidance_weight != 0) taken.max_weight = given.max_guidance_weight;
  return taken;
}

Observation take_observation(const PolicyInfo& info, const saccade_observation& given) {
  Observation taken;
  check_array("observation.state", given.state, given.state_count);
  check_array("observation.tokens", given.tokens, given.token_count);
  check_array("observation.noise", given.noise, given.noise_count);
  if (given.state_count > 0) taken.state.assign(given.state, given.state + given.state_count);
  if (given.prompt != nullptr) taken.prompt = given.prompt;
  if (given.tokens != nullptr) taken.tokens.emplace(given.tokens, given.tokens + given.token_count);
  if (given.noise != nullptr) taken.noise.emplace(given.noise, given.noise + given.noise_count);
  taken.seed = given.seed;
  if (given.realtime != nullptr) {
    taken.realtime = take_realtime(given.realtime, info);
  }
  taken.stream = static_cast<CUstream_st*>(given.stream);
  take_frames(info, given, taken);
  return taken;
}

void check_chunk(const saccade_chunk& chunk, const PolicyInfo& info) {
  const std::size_t values = std::size_t(info.chunk) * std::size_t(info.action_dim);
  SACCADE_CHECK(chunk.values != nullptr, kWhere, "chunk.values must not be NULL");
  SACCADE_CHECK(chunk.value_capacity >= values, kWhere, "chunk.value_capacity is ",
                chunk.value_capacity, ", a chunk of ", info.chunk, " x ", info.action_dim, " has ",
                values, " values");
  check_array("chunk.tokens", chunk.tokens, chunk.token_capacity);
  check_array("chunk.times", chunk.times, chunk.time_capacity);
  check_array("chunk.warnings", chunk.warnings, chunk.warning_capacity);
}

template <typename T>
std::size_t give(const std::vector<T>& values, T* out, std::size_t capacity) {
  if (out != nullptr) std::copy_n(values.begin(), std::min(capacity, values.size()), out);
  return values.size();
}

std::size_t give(const std::string& text, char* out, std::size_t capacity) {
  if (capacity > 0) {
    const std::size_t count = std::min(capacity - 1, text.size());
    std::memcpy(out, text.data(), count);
    out[count] = '\0';
  }
  return text.size();
}

void infer(saccade_policy& handle, const saccade_observation* observation, saccade_chunk* chunk) {
  const std::lock_guard lock(handle.inference);
  const auto start = Clock::now();
  const saccade_observation given = read_sized(kWhere, "observation", observation);
  saccade_chunk out = read_sized(kWhere, "chunk", chunk);
  check_chunk(out, handle.policy.info());
  const Observation taken = take_observation(handle.policy.info(), given);
  ActionChunk made = handle.policy.infer(taken);
  const std::chrono::duration<double, std::milli> total = Clock::now() - start;
  made.times.push_back({"total", total.count()});
  std::string warnings;
  for (const std::string& warning : made.warnings) warnings += warning + "\n";
  const std::vector<saccade_stage_time> times = handle.statistics.add_inference(made.times);

  // Nothing fails from here on: a call that fails writes nothing.
  out.actions = made.actions;
  out.action_dim = made.action_dim;
  give(made.values, out.values, out.value_capacity);
  out.token_count = give(made.tokens, out.tokens, out.token_capacity);
  out.time_count = give(times, out.times, out.time_capacity);
  out.warning_bytes = give(warnings, out.warnings, out.warning_capacity);
  write_sized(out, chunk);
}

}  // namespace
}  // namespace saccade::capi

saccade_status saccade_infer(saccade_policy* policy, const saccade_observation* observation,
                             saccade_chunk* chunk) {
  using namespace saccade::capi;
  const saccade_status status = guarded([&] {
    SACCADE_CHECK(policy != nullptr, kWhere, "policy must not be NULL");
    infer(*policy, observation, chunk);
  });
  if (status != SACCADE_OK && policy != nullptr) {
    guarded([&] { policy->statistics.add_error(); });
  }
  return status;
}
