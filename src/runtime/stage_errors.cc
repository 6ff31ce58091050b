#include "runtime/stage_errors.h"

#include <cmath>

#include "core/bf16.h"
#include "core/check.h"
#include "core/e4m3.h"
#include "core/f16.h"
#include "cuda/device.h"

namespace saccade {
namespace {

constexpr float kF16Max = 65504;

/// Calls visit(value) for each, as f32.
template <typename T, typename Visit>
void each(const Tensor& tensor, Visit visit) {
  const T* values = tensor.as<T>();
  for (std::int64_t i = 0; i < tensor.shape.size(); ++i) visit(to_float(values[i]));
}

template <typename Visit>
void each(const Tensor& tensor, Visit visit) {
  switch (tensor.dtype) {
    case DType::kF32:
      return each<float>(tensor, visit);
    case DType::kBf16:
      return each<bf16>(tensor, visit);
    case DType::kF16:
      return each<f16>(tensor, visit);
    case DType::kE4m3:
      return each<e4m3>(tensor, visit);
    default:
      fail("verify", "a stage of type ", name_of(tensor.dtype), " cannot be compared");
  }
}

}  // namespace

void ErrorSums::add(double value, double reference) {
  const double error = std::abs(value - reference);
  difference += error * error;
  norm += reference * reference;
  own_norm += value * value;
  product += value * reference;
  // NaN compares false with everything: it must not look like a small error, nor be overwritten.
  if (!(error <= max_abs) && !std::isnan(max_abs)) max_abs = error;
}

double ErrorSums::relative() const {
  return norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
}

double ErrorSums::cosine() const {
  if (norm == 0 && own_norm == 0) return 1;
  return norm > 0 && own_norm > 0 ? product / std::sqrt(norm * own_norm) : product;
}

void ValueCounts::add(const Tensor& tensor) {
  const bool is_f16 = tensor.dtype == DType::kF16;
  values += std::uint64_t(tensor.shape.size());
  each(tensor, [&](float value) {
    non_finite += !std::isfinite(value);
    saturated += is_f16 && std::fabs(value) == kF16Max;
  });
}

std::vector<float> widened(const Tensor& tensor) {
  std::vector<float> values;
  values.reserve(std::size_t(tensor.shape.size()));
  each(tensor, [&](float value) { values.push_back(value); });
  return values;
}

Tensor HostReader::read(const Stream& stream, const Tensor& tensor) {
  if (tensor.device == Device::kCpu) return tensor;
  copy_.resize(tensor.bytes());
  cuda::download(stream, tensor.data, copy_.data(), tensor.bytes());
  return {copy_.data(), tensor.shape, tensor.dtype, Device::kCpu};
}

}  // namespace saccade
