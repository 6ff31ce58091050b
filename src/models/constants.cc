#include "models/constants.h"

#include <numeric>
#include <vector>

#include "saccade/ops/copy.h"
#include "saccade/ops/flow.h"
#include "saccade/ops/rope.h"

namespace saccade::models {
namespace {

/// A tensor of the same shape and type on the host, filled by `fill`, then uploaded.
template <typename T, typename Fill>
void upload(const Stream& s, Tensor out, Fill fill) {
  std::vector<T> values(std::size_t(out.shape.size()));
  const Tensor host{values.data(), out.shape, out.dtype, Device::kCpu};
  fill(host);
  ops::upload(s, host, out);
}

}  // namespace

void upload_time_embeddings(const Stream& s, std::span<const float> times, TimePeriods periods,
                            Tensor out) {
  upload<float>(s, out, [&](Tensor host) {
    for (std::size_t i = 0; i < times.size(); ++i) {
      ops::time_embedding(times[i], periods.min, periods.max,
                          host.rows(int(i), 1).reshaped({host.shape[1]}));
    }
  });
}

void upload_rope_table(const Stream& s, float base, Tensor out) {
  upload<float>(s, out, [&](Tensor host) { ops::rope_table(base, host); });
}

void upload_constant(const Stream& s, float value, Tensor out) {
  upload<float>(s, out,
                [&](Tensor host) { std::fill_n(host.as<float>(), host.shape.size(), value); });
}

void upload_unit(const Stream& s, Tensor out) {
  upload<float>(s, out, [&](Tensor host) {
    const int ones = std::min(host.shape[0], host.shape[1]);
    for (int i = 0; i < ones; ++i) host.as<float>()[i * (host.shape[1] + 1)] = 1;
  });
}

void upload_counting(const Stream& s, Tensor out) {
  upload<int>(s, out, [&](Tensor host) {
    std::iota(host.as<int>(), host.as<int>() + host.shape.size(), 0);
  });
}

}  // namespace saccade::models
