#include "server/status.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "saccade/ops/image.h"
#include "server/jpeg.h"

namespace saccade::server {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kRecent = 512;  // latencies that are kept
constexpr std::size_t kShown = 120;   // of them in the sparkline
constexpr auto kAttention = std::chrono::seconds(5);
constexpr auto kBetweenCopies = std::chrono::milliseconds(500);

double percentile(std::vector<double> values, double fraction) {
  if (values.empty()) return 0;
  const auto rank = std::ptrdiff_t(std::ceil(fraction * double(values.size()))) - 1;
  const auto place = values.begin() + std::max<std::ptrdiff_t>(rank, 0);
  std::nth_element(values.begin(), place, values.end());
  return *place;
}

Json to_json(const ActionChunk& chunk, const std::vector<std::string>& names) {
  Json columns = Json::array();
  for (int column = 0; column < chunk.action_dim; ++column) {
    std::vector<float> values;
    for (int row = 0; row < chunk.actions; ++row) {
      values.push_back(chunk.values[std::size_t(row * chunk.action_dim + column)]);
    }
    const bool named = int(names.size()) == chunk.action_dim;
    columns.push_back({{"name", named ? names[std::size_t(column)] : std::to_string(column)},
                       {"values", std::move(values)}});
  }
  return columns;
}

}  // namespace

Status::Status(const PolicyInfo& info, std::string environment)
    : info_(info), environment_(std::move(environment)) {}

std::uint64_t Status::open_connection(const std::string& peer) {
  const std::lock_guard lock(mutex_);
  connections_[next_connection_].peer = peer;
  return next_connection_++;
}

std::uint64_t Status::close_connection(std::uint64_t connection) {
  const std::lock_guard lock(mutex_);
  const std::uint64_t requests = connections_[connection].requests;
  connections_.erase(connection);
  return requests;
}

std::size_t Status::connections() const {
  const std::lock_guard lock(mutex_);
  return connections_.size();
}

void Status::watch(const Observation& observation, const ActionChunk& chunk) {
  const Clock::time_point now = Clock::now();
  const std::lock_guard lock(mutex_);
  chunk_ = chunk;
  const bool is_watched = looked_at_ && now - *looked_at_ < kAttention;
  if (!is_watched || (copied_at_ && now - *copied_at_ < kBetweenCopies)) return;
  copied_at_ = now;
  ++picture_number_;
  pictures_.clear();
  for (const auto& [camera, frame] : observation.frames) {
    const std::size_t size = std::size_t(frame.height) * std::size_t(frame.width) * 3;
    pictures_[camera] = {frame.height, frame.width, {frame.pixels, frame.pixels + size}};
  }
}

void Status::finish(std::uint64_t connection, double total_ms) {
  const std::lock_guard lock(mutex_);
  const auto found = connections_.find(connection);
  if (found != connections_.end()) ++found->second.requests;
  recent_ms_.push_back(total_ms);
  if (recent_ms_.size() > kRecent) recent_ms_.pop_front();
}

std::string Status::json(const Counts& counts) {
  const Clock::time_point now = Clock::now();
  const std::lock_guard lock(mutex_);
  looked_at_ = now;
  const std::vector<double> recent(recent_ms_.begin(), recent_ms_.end());
  Json clients = Json::array();
  for (const auto& [number, connection] : connections_) {
    clients.push_back(
        {{"connection", number}, {"peer", connection.peer}, {"requests", connection.requests}});
  }
  Json stages = Json::array();
  for (const StageTime& time : chunk_.times) {
    stages.push_back({{"stage", time.stage}, {"ms", time.ms}});
  }
  Json cameras = Json::array();
  for (const auto& [camera, picture] : pictures_) cameras.push_back(camera);
  const std::size_t shown = std::min(kShown, recent.size());
  const Json status = {
      {"model", name_of(info_.model)},
      {"precision", name_of(info_.precision)},
      {"device", name_of(info_.device)},
      {"steps", info_.steps},
      {"environment", environment_},
      {"uptime_s", std::chrono::duration<double>(now - start_).count()},
      {"requests", counts.requests},
      {"errors", counts.errors},
      {"deadline_misses", counts.deadline_misses},
      {"queue_length", counts.queue_length},
      {"clients", clients},
      {"latency_ms",
       {{"p50", percentile(recent, 0.5)},
        {"p99", percentile(recent, 0.99)},
        {"recent", std::vector<double>(recent.end() - std::ptrdiff_t(shown), recent.end())}}},
      {"stages", stages},
      {"cameras", cameras},
      {"picture_number", picture_number_},
      {"actions", to_json(chunk_, info_.action_names)}};
  return status.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::optional<std::string> Status::frame(std::string_view camera) const {
  Picture picture;
  {
    const std::lock_guard lock(mutex_);
    const auto found = pictures_.find(camera);
    if (found == pictures_.end()) return std::nullopt;
    picture = found->second;
  }
  const int size = info_.image_size;
  std::vector<float> seen(std::size_t(size) * std::size_t(size) * 3);
  const auto filter =
      info_.mode == Mode::kOpenpi ? ops::ResizeFilter::kAntialias : ops::ResizeFilter::kBilinear;
  ops::resize_with_pad(
      Stream{}, Tensor{picture.pixels.data(), {picture.height, picture.width, 3}, DType::kU8},
      filter, Tensor{seen.data(), {3, size, size}, DType::kF32});
  std::vector<std::uint8_t> pixels(seen.size());
  const std::size_t plane = seen.size() / 3;
  for (std::size_t i = 0; i < seen.size(); ++i) {
    pixels[i % plane * 3 + i / plane] = std::uint8_t(std::lround((seen[i] + 1) * 127.5f));
  }
  return encode_jpeg(pixels, size, size);
}

}  // namespace saccade::server
