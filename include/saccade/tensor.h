#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace saccade {

enum class DType : std::uint8_t { kF32, kBf16, kF16, kU8, kI32, kE4m3 };
enum class Device : std::uint8_t { kCpu, kCuda };

struct bf16 {
  std::uint16_t bits = 0;
};

/// IEEE half precision.
struct f16 {
  std::uint16_t bits = 0;
};

/// Eight bits: sign, four of exponent, three of mantissa; no infinity. Its values have scales.
struct e4m3 {
  std::uint8_t bits = 0;
};

std::size_t size_of(DType);   // bytes of one element
const char* name_of(DType);   // "f32"
const char* name_of(Device);  // "cpu"

/// Up to four extents, outermost first.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<int> extents);
  explicit Shape(std::span<const int> extents);

  int rank() const { return rank_; }
  int operator[](int axis) const { return extents_[std::size_t(axis < 0 ? axis + rank_ : axis)]; }
  std::int64_t size() const;
  std::string str() const;  // "[816, 2048]"

  bool operator==(const Shape&) const = default;

 private:
  std::array<int, 4> extents_{};
  int rank_ = 0;
};

/// A contiguous, typed window onto memory that somebody else owns.
/// Ops take tensors by value and never allocate, resize or free them.
/// A default-constructed tensor stands for an operand that is not given.
struct Tensor {
  void* data = nullptr;
  Shape shape;
  DType dtype = DType::kF32;
  Device device = Device::kCpu;

  explicit operator bool() const { return data != nullptr; }

  std::size_t bytes() const;

  /// The window [begin, begin + count) of the outermost axis.
  Tensor rows(int begin, int count) const;

  /// The same elements under another shape of the same size.
  Tensor reshaped(Shape) const;

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

}  // namespace saccade
