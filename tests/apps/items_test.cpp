// Items of a batch at any axis, classifier heads and their scores, file names.
#include "apps/fcm-infer/items.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "apps/fcm-infer/classify.h"
#include "apps/fcm-infer/outputs.h"

namespace fcm::apps {
namespace {

fcm_port port(const std::vector<int64_t>& dims, int batch_axis = -1, fcm_dtype dtype = FCM_FLOAT32) {
  fcm_port p = {};
  p.name = "p";
  p.dtype = dtype;
  p.rank = dims.size();
  std::copy(dims.begin(), dims.end(), p.dims);
  if (batch_axis >= 0) p.batch_dims[batch_axis] = 1;
  return p;
}

TEST(Items, LayoutOfFreeAndFixedBatches) {
  const ItemLayout free = item_layout(port({3, 2, 5}, 1), 1);
  EXPECT_EQ(free.axis, 1U);
  EXPECT_EQ(free.dims_of(4), (std::vector<int64_t>{3, 8, 5}));
  EXPECT_EQ(free.bytes(4), 480U);
  const ItemLayout fixed = item_layout(port({8, 5}), 4);
  EXPECT_EQ(fixed.axis, 0U);
  EXPECT_EQ(fixed.dims_of(1), (std::vector<int64_t>{2, 5}));
  EXPECT_FALSE(item_layout(port({7, 5}), 4).axis);
  EXPECT_FALSE(item_layout(port({}), 1).axis);
}

TEST(Items, CopiesAtAnInnerAxis) {
  const ItemLayout layout = item_layout(port({2, 1, 2}, 1, FCM_UINT8), 1);
  const std::vector<uint8_t> source = {0, 1, 10, 11, 20, 21, 100, 101, 110, 111, 120, 121};  // [2,3,2]: 100 * outer + 10 * item + inner
  std::vector<uint8_t> target(16, 255);                                                      // [2,4,2]
  copy_items(layout, reinterpret_cast<const std::byte*>(source.data()), 3, 1, reinterpret_cast<std::byte*>(target.data()), 4, 2, 2);
  EXPECT_EQ(target, (std::vector<uint8_t>{255, 255, 255, 255, 10, 11, 20, 21, 255, 255, 255, 255, 110, 111, 120, 121}));
}

TEST(Classifier, IsOneOutputWithOneAxis) {
  const auto one = [](const fcm_port& p) { return is_classifier({p}, {item_layout(p, 1)}); };
  EXPECT_TRUE(one(port({1, 1000}, 0)));
  EXPECT_TRUE(one(port({1, 10, 1, 1}, 0)));
  EXPECT_TRUE(one(port({10, 1}, 1)));
  EXPECT_FALSE(one(port({1, 32, 7, 7}, 0)));
  EXPECT_FALSE(one(port({1, 1}, 0)));
  EXPECT_FALSE(one(port({1, 0}, 0)));
  EXPECT_FALSE(one(port({1, 1000}, 0, FCM_INT64)));
  const fcm_port p = port({1, 10}, 0);
  EXPECT_FALSE(is_classifier({p, p}, {item_layout(p, 1), item_layout(p, 1)}));
}

TEST(Classifier, TopClassesBestFirst) {
  const auto classes = top_classes({1, 3, 3, 0}, 3, false);
  ASSERT_EQ(classes.size(), 3U);
  EXPECT_EQ(classes[0].index, 1U);  // equal scores by index
  EXPECT_EQ(classes[1].index, 2U);
  EXPECT_EQ(classes[2].index, 0U);
  const double sum = std::exp(1.0) + 2 * std::exp(3.0) + 1;
  EXPECT_NEAR(classes[0].probability, std::exp(3.0) / sum, 1e-12);
  EXPECT_EQ(top_classes({0.25, 0.75}, 5, true)[0].probability, 0.75);
  EXPECT_EQ(top_classes({0.25, 0.75}, 5, true).size(), 2U);
}

TEST(Classifier, LargeAndUndefinedScores) {
  EXPECT_NEAR(top_classes({10000, 9999}, 1, false)[0].probability, 1 / (1 + std::exp(-1.0)), 1e-12);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto classes = top_classes({nan, -5, nan}, 3, false);
  EXPECT_EQ(classes[0].index, 1U);
}

TEST(Outputs, FileNames) {
  EXPECT_EQ(file_name_of("a/b:0 c"), "a_b_0_c.npy");
  EXPECT_EQ(file_name_of("Ok-1_2.x"), "Ok-1_2.x.npy");
  EXPECT_EQ(file_name_of("../up"), ".._up.npy");
}

}  // namespace
}  // namespace fcm::apps
