#pragma once

namespace saccade::cuda {

/// While one lives, the kernels that its thread launches start when everything in front of them in
/// their stream has finished: nothing overlaps. Ops read weights and tables before the previous
/// kernel has finished; in a stream that somebody else fills, that kernel may be their writer.
class SerialOrder {
 public:
  SerialOrder() : outer_(holds_) { holds_ = true; }
  ~SerialOrder() { holds_ = outer_; }
  SerialOrder(const SerialOrder&) = delete;
  SerialOrder& operator=(const SerialOrder&) = delete;

  static bool holds() { return holds_; }

 private:
  inline static thread_local bool holds_ = false;
  bool outer_;
};

}  // namespace saccade::cuda
