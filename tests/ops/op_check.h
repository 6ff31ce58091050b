#pragma once

#include <functional>

#include "ops/op_case.h"

namespace saccade::testing {

/// Runs an op on CPU tensors: there, or on a device to which it copies them and back.
using Runner = std::function<void(const OpCase&, const std::vector<Tensor>& in,
                                  const std::vector<Tensor>& out)>;

/// Expects that the op matches its definition, writes every element of its outputs and nothing
/// else, and gives the same bits when it runs again.
void check_case(const OpCase&, const Runner&);

/// A case's name as GoogleTest allows it.
std::string test_name(const OpCase&);

}  // namespace saccade::testing
