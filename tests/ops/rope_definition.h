#pragma once

#include "ops/op_case.h"

// What rope and project_qkv share.
namespace saccade::testing {

struct Heads {
  int heads;
  int kv_heads;
  int head_dim;

  int width() const { return (heads + 2 * kv_heads) * head_dim; }
};

/// The names of the operands, each the values of one tensor; k and v as they are before the op.
struct RopeValues {
  const Values& qkv;
  const Values& positions;
  const Values& table;
  const Values& k;
  const Values& v;
};

void fill_rope_table(Tensor, std::mt19937&);

/// k, v and, if it is wanted, q.
std::vector<Values> exact_rope(const RopeValues&, Heads, bool with_q);

}  // namespace saccade::testing
