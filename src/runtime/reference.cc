#include "runtime/reference.h"

#include "core/check.h"
#include "runtime/pack.h"

namespace saccade {
namespace {

template <typename T>
void widen(std::span<const std::byte> bytes, std::vector<float>& values) {
  const auto* elements = reinterpret_cast<const T*>(bytes.data());
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(elements[i]);
}

void read_values(const io::WeightInfo& info, std::span<const std::byte> bytes,
                 std::vector<float>& values) {
  switch (info.dtype) {
    case io::FileDType::kBool:
    case io::FileDType::kU8:
      return widen<std::uint8_t>(bytes, values);
    case io::FileDType::kI32:
      return widen<std::int32_t>(bytes, values);
    case io::FileDType::kI64:
      return widen<std::int64_t>(bytes, values);
    default:
      pack({bytes.data(), info.dtype, {info.size()}, {1}}, {}, 0,
           {values.data(), {int(values.size())}, DType::kF32, Device::kCpu});
  }
}

}  // namespace

std::int64_t ReferenceTensor::extent(int axis) const {
  return extents[std::size_t(axis < 0 ? axis + int(extents.size()) : axis)];
}

Reference::Reference(const std::filesystem::path& path) : file_(path) {
  while (has("in.image." + std::to_string(views_))) ++views_;
  while (has("step." + std::to_string(steps_) + ".x")) ++steps_;
  SACCADE_CHECK(views_ > 0, "verify", path.string(), " holds no in.image.0");
  SACCADE_CHECK(steps_ > 0, "verify", path.string(), " holds no step.0.x");
  batch_ = int(read("in.noise", 3).extent(0));
  SACCADE_CHECK(batch_ > 0, "verify", path.string(), ": in.noise has no elements");
}

bool Reference::has(const std::string& name) const { return file_.entries().count(name) > 0; }

ReferenceTensor Reference::read(const std::string& name, std::size_t rank) const {
  const io::SafetensorsEntry& entry = file_.entry(name);
  SACCADE_CHECK(entry.info.extents.size() == rank, "verify", path().string(), ": ", name, " is ",
                entry.info.shape(), ", it must have ", rank, " axes");
  SACCADE_CHECK(batch_ == 0 || entry.info.extents[0] == batch_, "verify", path().string(), ": ",
                name, " is ", entry.info.shape(), " for a batch of ", batch_);
  SACCADE_CHECK(entry.info.size() < (std::int64_t{1} << 31), "verify", path().string(), ": ", name,
                " is too large: ", entry.info.shape());
  ReferenceTensor tensor;
  tensor.extents = entry.info.extents;
  tensor.values.resize(std::size_t(entry.info.size()));
  read_values(entry.info, file_.bytes(entry), tensor.values);
  return tensor;
}

std::vector<int> Reference::present_views(int element) const {
  std::vector<int> present;
  for (int view = 0; view < views_; ++view) {
    const ReferenceTensor mask = read("in.image_mask." + std::to_string(view), 1);
    if (mask.values[std::size_t(element)] != 0) present.push_back(view);
  }
  return present;
}

std::vector<int> Reference::valid_tokens(int element) const {
  const ReferenceTensor tokens = read("in.tokens", 2);
  const ReferenceTensor mask = read("in.token_mask", 2);
  SACCADE_CHECK(tokens.extents == mask.extents, "verify", path().string(),
                ": in.tokens and in.token_mask differ in shape");
  std::vector<int> valid;
  const auto count = std::size_t(tokens.extent(1));
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t at = std::size_t(element) * count + i;
    if (mask.values[at] == 0) continue;
    // Beyond this f32 does not hold every integer; vocabularies are far smaller.
    constexpr float kMostTokens = 1 << 24;
    SACCADE_CHECK(tokens.values[at] >= 0 && tokens.values[at] < kMostTokens, "verify",
                  path().string(), ": in.tokens holds ", tokens.values[at]);
    valid.push_back(int(tokens.values[at]));
  }
  return valid;
}

std::vector<int> Reference::valid_prefix_rows(int element) const {
  const ReferenceTensor mask = read("prefix.pad_mask", 2);
  const auto count = std::size_t(mask.extent(1));
  std::vector<int> rows;
  for (std::size_t i = 0; i < count; ++i) {
    if (mask.values[std::size_t(element) * count + i] != 0) rows.push_back(int(i));
  }
  return rows;
}

std::vector<float> Reference::times() const {
  std::vector<float> times;
  for (int step = 0; step < steps_; ++step) {
    times.push_back(read("step." + std::to_string(step) + ".t", 1).values[0]);
  }
  return times;
}

}  // namespace saccade
