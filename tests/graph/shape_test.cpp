#include "runtime/graph/shape.h"

#include <gtest/gtest.h>

#include "runtime/support/error.h"

namespace fcm {
namespace {

TEST(Shape, CountsScaleWithTheBatch) {
  const Shape shape = {Dim(1, true), 3, 224, 224};
  EXPECT_EQ(element_count(shape), Dim(3 * 224 * 224, true));
  EXPECT_EQ(at_batch(shape, 8), (Dims{8, 3, 224, 224}));
  EXPECT_EQ(to_string(Shape{Dim(4, true), 7}), "[4*B,7]");
  EXPECT_TRUE(has_batch(shape));
  EXPECT_FALSE(has_batch({1, 2}));
}

TEST(Shape, TwoBatchDimensionsAreRefused) {
  EXPECT_THROW(element_count(Shape{Dim(1, true), Dim(2, true)}), Error);
}

TEST(Shape, OverflowAndNegativeDimensionsAreRefused) {
  const int64_t huge = int64_t{1} << 40;
  EXPECT_THROW(element_count(Dims{huge, huge}), Error);
  EXPECT_THROW(element_count(Dims{2, -1}), Error);
  EXPECT_EQ(element_count(Dims{}), 1);
  EXPECT_EQ(element_count(Dims{0, huge}), 0);
}

}  // namespace
}  // namespace fcm
