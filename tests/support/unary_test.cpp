#include "runtime/support/unary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace fcm {
namespace {

TEST(Unary, ValuesAgreeWithTheirDefinitions) {
  for (const float x : {-7.5f, -3.0f, -1.0f, -0.25f, 0.0f, 0.5f, 1.0f, 2.99f, 6.5f, 30.0f}) {
    const double d = x;
    const double sigmoid = 1.0 / (1.0 + std::exp(-d));
    EXPECT_FLOAT_EQ(apply({UnaryFn::relu, 0, 0}, x), std::fmax(x, 0.0f));
    EXPECT_FLOAT_EQ(apply({UnaryFn::clip, -1, 6}, x), std::fmin(std::fmax(x, -1.0f), 6.0f));
    EXPECT_NEAR(apply({UnaryFn::sigmoid, 0, 0}, x), sigmoid, 1e-6);
    EXPECT_NEAR(apply({UnaryFn::silu, 0, 0}, x), d * sigmoid, 1e-5);
    EXPECT_NEAR(apply({UnaryFn::hard_swish, 0, 0}, x), d * std::fmin(std::fmax(d / 6 + 0.5, 0.0), 1.0), 1e-5);
    EXPECT_NEAR(apply({UnaryFn::hard_sigmoid, 0.2f, 0.5f}, x), std::fmin(std::fmax(0.2 * d + 0.5, 0.0), 1.0), 1e-6);
    EXPECT_NEAR(apply({UnaryFn::gelu, 0, 0}, x), 0.5 * d * (1 + std::erf(d / std::sqrt(2.0))), 1e-5);
    EXPECT_NEAR(apply({UnaryFn::mish, 0, 0}, x), d * std::tanh(std::log1p(std::exp(d))), 1e-5);
    EXPECT_NEAR(apply({UnaryFn::softplus, 0, 0}, x), std::log1p(std::exp(d)), 1e-5);
  }
}

TEST(Unary, NaNStaysNaN) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (int fn = 0; fn < static_cast<int>(UnaryFn::logical_not); ++fn) {
    EXPECT_TRUE(std::isnan(apply({static_cast<UnaryFn>(fn), 0.0f, 6.0f}, nan))) << fn;
  }
  EXPECT_EQ(apply({UnaryFn::is_nan, 0, 0}, nan), 1.0f);
}

TEST(Unary, RoundIsHalfToEven) {
  EXPECT_EQ(apply({UnaryFn::round, 0, 0}, 0.5f), 0.0f);
  EXPECT_EQ(apply({UnaryFn::round, 0, 0}, 1.5f), 2.0f);
  EXPECT_EQ(apply({UnaryFn::round, 0, 0}, -2.5f), -2.0f);
}

TEST(Unary, CanonicalText) {
  EXPECT_EQ(to_string(Unary{UnaryFn::clip, 0, 6}), "clip(0,6)");
  EXPECT_EQ(to_string(Unary{UnaryFn::leaky_relu, 0.1f, 0}), "leaky_relu(0.1)");
  EXPECT_EQ(to_string(Unary{UnaryFn::silu, 0, 0}), "silu");
  EXPECT_TRUE(is_activation(UnaryFn::gelu_tanh));
  EXPECT_FALSE(is_activation(UnaryFn::log));
}

}  // namespace
}  // namespace fcm
