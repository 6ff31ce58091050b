#include <gtest/gtest.h>

#include "ops/op_check.h"

namespace saccade::testing {

// Named by a failing test instead of a dump of its bytes.
void PrintTo(const OpCase& op, std::ostream* out) { *out << op.name; }

namespace {

class OpTest : public ::testing::TestWithParam<OpCase> {};

TEST_P(OpTest, MatchesItsDefinition) {
  check_case(GetParam(),
             [](const OpCase& op, const auto& in, const auto& out) { op.run(Stream{}, in, out); });
}

INSTANTIATE_TEST_SUITE_P(Cases, OpTest, ::testing::ValuesIn(all_cases()),
                         [](const auto& info) { return test_name(info.param); });

}  // namespace
}  // namespace saccade::testing
