// Tables, statistics, colours, numbers: what all programs share.
#include <gtest/gtest.h>

#include <cmath>

#include "apps/common/program.h"
#include "apps/common/stats.h"
#include "apps/common/table.h"
#include "apps/common/tensor.h"

namespace fcm::apps {
namespace {

TEST(Table, AlignsColumnsByCharacters) {
  Table table({"name", ">bytes", ""});
  table.add({"caf\xC3\xA9", "7", "x"});
  table.add({"longer", "1234"});
  EXPECT_EQ(table.text(2),
            "  name    bytes\n"
            "  caf\xC3\xA9        7  x\n"
            "  longer   1234\n");
}

TEST(Table, WithoutTitlesHasNoTitleLine) {
  Table table({">", ""});
  table.add({"1", "a"});
  EXPECT_EQ(table.text(), "1  a\n");
}

TEST(Table, BytesInUnits) {
  EXPECT_EQ(bytes_text(0), "0 B");
  EXPECT_EQ(bytes_text(1023), "1023 B");
  EXPECT_EQ(bytes_text(1536), "1.5 KiB");
  EXPECT_EQ(bytes_text(size_t{3} << 30), "3.0 GiB");
}

TEST(Spread, EqualsNumpyPercentiles) {
  const Spread s = spread_of({4, 1, 3, 2});
  EXPECT_DOUBLE_EQ(s.min, 1);
  EXPECT_DOUBLE_EQ(s.mean, 2.5);
  EXPECT_DOUBLE_EQ(s.median, 2.5);
  EXPECT_DOUBLE_EQ(s.p90, 3.7);
  EXPECT_DOUBLE_EQ(s.p95, 3.85);
  EXPECT_DOUBLE_EQ(s.p99, 3.97);
  EXPECT_DOUBLE_EQ(s.max, 4);
  EXPECT_DOUBLE_EQ(spread_of({5}).p99, 5);
  EXPECT_DOUBLE_EQ(spread_of({}).max, 0);
}

TEST(Numbers, OfEveryType) {
  const auto numbers = [](fcm_dtype dtype, const auto& values) {
    return to_numbers(dtype, reinterpret_cast<const std::byte*>(values.data()), values.size());
  };
  EXPECT_EQ(numbers(FCM_FLOAT32, std::vector<float>{1.5F, -2}), (std::vector<double>{1.5, -2}));
  EXPECT_EQ(numbers(FCM_FLOAT16, std::vector<uint16_t>{0x3C00, 0xC000}), (std::vector<double>{1, -2}));
  EXPECT_EQ(numbers(FCM_BFLOAT16, std::vector<uint16_t>{0x3F80, 0xC000}), (std::vector<double>{1, -2}));
  EXPECT_EQ(numbers(FCM_INT64, std::vector<int64_t>{-5}), std::vector<double>{-5});
  EXPECT_EQ(numbers(FCM_UINT8, std::vector<uint8_t>{255}), std::vector<double>{255});
  EXPECT_EQ(numbers(FCM_INT8, std::vector<int8_t>{-1}), std::vector<double>{-1});
}

TEST(Program, ExitCodes) {
  EXPECT_EQ(exit_code_of(FCM_STATUS_INVALID_ARGUMENT), 1);
  EXPECT_EQ(exit_code_of(FCM_STATUS_BAD_INPUT), 2);
  EXPECT_EQ(exit_code_of(FCM_STATUS_UNSUPPORTED), 3);
  EXPECT_EQ(exit_code_of(FCM_STATUS_DEVICE), 4);
  EXPECT_EQ(exit_code_of(FCM_STATUS_OUT_OF_MEMORY), 4);
  EXPECT_EQ(exit_code_of(FCM_STATUS_DEVICE_LOST), 4);
  EXPECT_EQ(exit_code_of(FCM_STATUS_INTERNAL), 5);
}

}  // namespace
}  // namespace fcm::apps
