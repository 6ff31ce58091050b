#pragma once

#include <limits>
#include <string>
#include <vector>

#include "saccade/stream.h"
#include "saccade/tensor.h"

namespace saccade {

/// An op as it was asked for.
struct OpRecord {
  const char* op = "";
  std::string shape;  // "576 x 2048 x 32768 geglu"
  double flops = 0;
  double bytes = 0;      // of weights, which no cache holds from one pass to the next
  bool is_e4m3 = false;  // its products are, of which a GPU makes twice as many
};

/// Sees the ops of a stream (Stream::trace), and may end the stream early.
struct OpTrace {
  struct Section {
    std::string name;
    int first_op;
  };

  std::vector<OpRecord> ops;
  std::vector<Section> sections;                // opened by whoever runs the ops
  int limit = std::numeric_limits<int>::max();  // the ops behind so many do not run

  /// Attention's keys, where how many a row sees is in memory that the host does not read. 0: all.
  int visible_keys = 0;

  int size() const { return int(ops.size()); }
  void open_section(const char* name) { sections.push_back({name, size()}); }
};

namespace ops::detail {

/// Whether an op is to run, asked once by every op when its operands are checked. `describe()`
/// gives its record, if anybody wants one.
template <typename Describe>
bool may_run(const Stream& stream, Describe describe) {
  if (stream.trace == nullptr) return true;
  stream.trace->ops.push_back(describe());
  return stream.trace->size() <= stream.trace->limit;
}

/// For an op without weights whose products do not count.
inline bool may_run(const Stream& stream, const char* op, const Tensor& operand) {
  return may_run(stream, [&] { return OpRecord{op, operand.shape.str()}; });
}

}  // namespace ops::detail
}  // namespace saccade
