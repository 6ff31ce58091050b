#include "server/metrics.h"

#include <algorithm>
#include <numeric>
#include <sstream>

#include "cuda/nvml.h"

namespace saccade::server {
namespace {

constexpr std::array<const char*, 5> kErrorNames = {"message", "observation", "deadline", "device",
                                                    "internal"};

constexpr std::array<const char*, 3> kDropNames = {"queue", "limit", "disk"};

void head(std::ostream& out, const char* name, const char* type, const char* help) {
  out << "# HELP " << name << ' ' << help << "\n# TYPE " << name << ' ' << type << '\n';
}

template <typename T>
void metric(std::ostream& out, const char* name, const char* type, const char* help, T value) {
  head(out, name, type, help);
  out << name << ' ' << value << '\n';
}

void write_device(std::ostream& out, const PolicyInfo& info) {
  metric(out, "saccade_weight_bytes", "gauge", "Memory of the policy's weights.",
         info.weight_bytes);
  metric(out, "saccade_buffer_bytes", "gauge", "Memory of the policy's buffers.",
         info.buffer_bytes);
  if (info.device != Device::kCuda) return;
  if (const int mhz = cuda::sm_clock_mhz(); mhz > 0) {
    metric(out, "saccade_gpu_clock_hertz", "gauge", "Clock of the GPU's multiprocessors.",
           mhz * 1e6);
  }
  if (const cuda::DeviceMemory memory = cuda::device_memory(); memory.total_bytes > 0) {
    metric(out, "saccade_gpu_memory_used_bytes", "gauge", "Memory of the GPU in use by anybody.",
           memory.used_bytes);
    metric(out, "saccade_gpu_memory_total_bytes", "gauge", "Memory of the GPU.",
           memory.total_bytes);
  }
}

void write_recording(std::ostream& out, const RecordCounts& counts) {
  metric(out, "saccade_record_requests_total", "counter", "Requests recorded.", counts.recorded);
  metric(out, "saccade_record_bytes", "gauge", "Size of the recording.", counts.bytes);
  constexpr auto kName = "saccade_record_dropped_total";
  head(out, kName, "counter", "Requests that are not in the recording, by reason.");
  for (std::size_t i = 0; i < kDropNames.size(); ++i) {
    out << kName << "{reason=\"" << kDropNames[i] << "\"} " << counts.dropped[i] << '\n';
  }
}

}  // namespace

const char* name_of(DropReason reason) { return kDropNames[std::size_t(reason)]; }

const char* name_of(ErrorKind kind) { return kErrorNames[std::size_t(kind)]; }

void Metrics::count_request() {
  const std::lock_guard lock(mutex_);
  ++requests_;
}

void Metrics::count_connection() {
  const std::lock_guard lock(mutex_);
  ++connections_;
}

void Metrics::count_error(ErrorKind kind) {
  const std::lock_guard lock(mutex_);
  ++errors_[std::size_t(kind)];
}

void Metrics::observe(std::string_view stage, double ms) {
  const std::lock_guard lock(mutex_);
  auto found = stages_.find(stage);
  if (found == stages_.end()) found = stages_.emplace(stage, Histogram()).first;
  const auto bucket = std::lower_bound(kBucketsMs.begin(), kBucketsMs.end(), ms);
  ++found->second.counts[std::size_t(bucket - kBucketsMs.begin())];
  found->second.sum_ms += ms;
}

std::uint64_t Metrics::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

std::uint64_t Metrics::errors() const {
  const std::lock_guard lock(mutex_);
  return std::accumulate(errors_.begin(), errors_.end(), std::uint64_t{0});
}

std::uint64_t Metrics::errors(ErrorKind kind) const {
  const std::lock_guard lock(mutex_);
  return errors_[std::size_t(kind)];
}

void Metrics::write_stages(std::ostream& out) const {
  constexpr auto kName = "saccade_stage_seconds";
  head(out, kName, "histogram", "Time of each part of a request.");
  for (const auto& [stage, histogram] : stages_) {
    std::uint64_t count = 0;
    for (std::size_t i = 0; i <= kBucketsMs.size(); ++i) {
      count += histogram.counts[i];
      out << kName << "_bucket{stage=\"" << stage << "\",le=\"";
      i < kBucketsMs.size() ? out << kBucketsMs[i] / 1000 : out << "+Inf";
      out << "\"} " << count << '\n';
    }
    out << kName << "_sum{stage=\"" << stage << "\"} " << histogram.sum_ms / 1000 << '\n';
    out << kName << "_count{stage=\"" << stage << "\"} " << count << '\n';
  }
}

std::string Metrics::text(const PolicyInfo& info, const Gauges& gauges) const {
  std::ostringstream out;
  out.precision(12);
  head(out, "saccade_info", "gauge", "What is served.");
  out << "saccade_info{model=\"" << name_of(info.model) << "\",precision=\""
      << name_of(info.precision) << "\",device=\"" << name_of(info.device) << "\"} 1\n";
  metric(out, "saccade_queue_length", "gauge", "Requests that wait for the policy.",
         gauges.queue_length);
  metric(out, "saccade_connections", "gauge", "Clients that are connected.", gauges.connections);
  write_device(out, info);
  if (gauges.recording) write_recording(out, *gauges.recording);
  const std::lock_guard lock(mutex_);
  metric(out, "saccade_connections_total", "counter", "Clients that have connected.", connections_);
  metric(out, "saccade_requests_total", "counter", "Observations received.", requests_);
  metric(out, "saccade_deadline_misses_total", "counter", "Actions that were not ready in time.",
         errors_[std::size_t(ErrorKind::kDeadline)]);
  head(out, "saccade_errors_total", "counter", "Requests that got no actions, by reason.");
  for (std::size_t i = 0; i < errors_.size(); ++i) {
    out << "saccade_errors_total{kind=\"" << kErrorNames[i] << "\"} " << errors_[i] << '\n';
  }
  write_stages(out);
  return out.str();
}

}  // namespace saccade::server
