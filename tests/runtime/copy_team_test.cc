#include "runtime/copy_team.h"

#include <gtest/gtest.h>

#include <numeric>

namespace saccade {
namespace {

TEST(CopyTeam, CopiesEveryByteOfEveryBlockAndNothingElse) {
  CopyTeam team;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{131071},
                                 std::size_t{131072}, std::size_t{921600}}) {
    for (int round = 0; round < 50; ++round) {
      std::vector<unsigned char> from(size + 3), first(size + 1, 0xaa), second(2, 0xaa);
      std::iota(from.begin(), from.end(), static_cast<unsigned char>(round));
      const CopyTeam::Copy copies[] = {{from.data(), first.data(), size},
                                       {from.data() + size, second.data(), 1}};
      team.start(copies);
      team.finish(0);
      EXPECT_TRUE(std::equal(first.begin(), first.end() - 1, from.begin()));
      team.finish(1);
      EXPECT_EQ(second[0], from[size]);
      EXPECT_EQ(first.back(), 0xaa);
      EXPECT_EQ(second[1], 0xaa);
    }
  }
}

}  // namespace
}  // namespace saccade
