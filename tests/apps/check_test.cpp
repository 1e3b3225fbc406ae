// What --check calls equal.
#include "apps/fcm-infer/check.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace fcm::apps {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(Compare, FiguresOfADifference) {
  const Comparison r = compare({1, 2, 3.5, 4}, {1, 2, 3, 4}, 2, {0.1, 0.1});
  EXPECT_DOUBLE_EQ(r.max_abs, 0.5);
  EXPECT_DOUBLE_EQ(r.max_rel, 0.5 / 3);
  EXPECT_EQ(r.beyond, 1U);  // 0.5 > 0.1 + 0.3
  EXPECT_FALSE(r.passed());
  EXPECT_DOUBLE_EQ(r.top1, 1);
  EXPECT_NEAR(r.cosine, (1 + 4 + 10.5 + 16) / std::sqrt((1 + 4 + 12.25 + 16) * 30.0), 1e-12);
  EXPECT_TRUE(compare({3.3}, {3}, 1, {0.1, 0.1}).passed());
}

TEST(Compare, Top1CountsRows) {
  EXPECT_DOUBLE_EQ(compare({1, 2, 2, 1, 0, 9}, {1, 2, 1, 2, 0, 9}, 2, {10, 0}).top1, 2.0 / 3);
}

TEST(Compare, InfinitiesAndNaN) {
  EXPECT_TRUE(compare({kInf, -kInf, kNan}, {kInf, -kInf, kNan}, 3, {0, 0}).passed());
  EXPECT_EQ(compare({kNan}, {1}, 1, {10, 10}).beyond, 1U);
  EXPECT_EQ(compare({1}, {kNan}, 1, {10, 10}).beyond, 1U);
  EXPECT_EQ(compare({1}, {kInf}, 1, {10, 10}).beyond, 1U);
  EXPECT_EQ(compare({-kInf}, {kInf}, 1, {10, 10}).beyond, 1U);
  EXPECT_EQ(compare({kInf}, {1}, 1, {10, 10}).max_abs, kInf);
}

TEST(Compare, ZerosAndNothing) {
  EXPECT_DOUBLE_EQ(compare({0, 0}, {0, 0}, 2, {0, 0}).cosine, 1);
  EXPECT_TRUE(compare({}, {}, 1, {0, 0}).passed());
}

}  // namespace
}  // namespace fcm::apps
