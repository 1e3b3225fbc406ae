#include "runtime/graph/tensor.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>

#include "runtime/support/error.h"

namespace fcm {
namespace {

TEST(Tensor, StartsAtZeroAndChecksTheElementType) {
  Tensor t(DType::f32, {2, 3});
  EXPECT_EQ(t.bytes(), 24u);
  for (const float x : t.data<float>()) EXPECT_EQ(x, 0.0f);
  EXPECT_THROW(t.data<int32_t>(), Error);
  EXPECT_THROW(t.data<double>(), Error);
}

TEST(Tensor, RefusesAbsurdSizesBeforeAllocating) {
  EXPECT_THROW(Tensor(DType::f32, {int64_t{1} << 40, 2}), Error);
  EXPECT_THROW(Tensor(DType::f32, {int64_t{1} << 39}), Error);
  EXPECT_THROW(Tensor(DType::f32, {-1}), Error);
}

TEST(Tensor, CastsLikeOnnx) {
  const std::array<float, 5> values = {-1.75f, 0.0f, 2.9f, 300.0f, std::numeric_limits<float>::quiet_NaN()};
  const Tensor t = Tensor::floats({5}, values);
  const auto ints = t.cast(DType::i64);
  EXPECT_EQ(ints.data<int64_t>()[0], -1);
  EXPECT_EQ(ints.data<int64_t>()[2], 2);
  const auto truth = t.cast(DType::boolean);
  EXPECT_EQ(truth.data<bool>()[1], false);
  EXPECT_EQ(truth.data<bool>()[2], true);
  const auto half = t.cast(DType::f16);
  EXPECT_EQ(half.data<uint16_t>()[3], f32_to_f16(300.0f));
  EXPECT_TRUE(std::isnan(half.cast(DType::f32).data<float>()[4]));
}

TEST(Tensor, Int64IsCastExactly) {
  const std::array<int64_t, 1> big = {(int64_t{1} << 62) + 1};
  EXPECT_EQ(Tensor::ints({1}, big).cast(DType::u64).data<uint64_t>()[0], (uint64_t{1} << 62) + 1);
}

TEST(Tensor, ReshapeSharesAndCloneDoesNot) {
  const std::array<float, 4> values = {1, 2, 3, 4};
  Tensor t = Tensor::floats({4}, values);
  const Tensor view = t.reshaped({2, 2});
  const Tensor copy = t.clone();
  t.data<float>()[0] = 9;
  EXPECT_EQ(view.data<float>()[0], 9);
  EXPECT_EQ(copy.data<float>()[0], 1);
  EXPECT_THROW(t.reshaped({3}), Error);
}

}  // namespace
}  // namespace fcm
