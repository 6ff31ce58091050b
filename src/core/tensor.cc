#include "saccade/tensor.h"

#include "core/check.h"

namespace saccade {

std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kBf16:
    case DType::kF16:
      return 2;
    case DType::kU8:
    case DType::kE4m3:
      return 1;
  }
  fail("dtype", "unknown type ", int(dtype));
}

const char* name_of(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return "f32";
    case DType::kBf16:
      return "bf16";
    case DType::kF16:
      return "f16";
    case DType::kU8:
      return "u8";
    case DType::kI32:
      return "i32";
    case DType::kE4m3:
      return "e4m3";
  }
  return "?";
}

const char* name_of(Device device) { return device == Device::kCpu ? "cpu" : "cuda"; }

Shape::Shape(std::initializer_list<int> extents)
    : Shape(std::span<const int>(extents.begin(), extents.size())) {}

Shape::Shape(std::span<const int> extents) : rank_(static_cast<int>(extents.size())) {
  SACCADE_CHECK(rank_ <= 4, "shape", "rank must be at most 4, got ", rank_);
  std::size_t axis = 0;
  for (int extent : extents) {
    SACCADE_CHECK(extent >= 0, "shape", "extents must not be negative, got ", extent);
    extents_[axis++] = extent;
  }
}

std::int64_t Shape::size() const {
  std::int64_t product = 1;
  for (int axis = 0; axis < rank_; ++axis) product *= (*this)[axis];
  return product;
}

std::string Shape::str() const {
  std::string text = "[";
  for (int axis = 0; axis < rank_; ++axis) {
    if (axis > 0) text += ", ";
    text += std::to_string((*this)[axis]);
  }
  return text + "]";
}

std::size_t Tensor::bytes() const { return std::size_t(shape.size()) * size_of(dtype); }

Tensor Tensor::rows(int begin, int count) const {
  SACCADE_CHECK(shape.rank() >= 1 && begin >= 0 && count >= 0 && begin <= shape[0] - count,
                "tensor", "rows ", begin, " + ", count, " are outside ", shape.str());
  const std::int64_t row_size = shape[0] == 0 ? 0 : shape.size() / shape[0];
  Tensor window = *this;
  window.data = static_cast<std::byte*>(data) + std::size_t(begin * row_size) * size_of(dtype);
  switch (shape.rank()) {
    case 1:
      window.shape = {count};
      break;
    case 2:
      window.shape = {count, shape[1]};
      break;
    case 3:
      window.shape = {count, shape[1], shape[2]};
      break;
    default:
      window.shape = {count, shape[1], shape[2], shape[3]};
  }
  return window;
}

Tensor Tensor::reshaped(Shape other) const {
  SACCADE_CHECK(other.size() == shape.size(), "tensor", other.str(), " has not the size of ",
                shape.str());
  Tensor same = *this;
  same.shape = other;
  return same;
}

}  // namespace saccade
