// Label files in their forms.
#include "runtime/image/labels.h"

#include <gtest/gtest.h>

#include "tests/image/helpers.h"

namespace fcm::test {
namespace {

using Lines = std::vector<std::string>;

TEST(Labels, DropsWordnetIdsOnly) {
  EXPECT_EQ(parse_labels("n01440764 tench\nn01484850  great white shark \nn0144076 short id\nn01440764\nnine plain\n", "x"),
            (Lines{"tench", "great white shark", "n0144076 short id", "n01440764", "nine plain"}));
}

TEST(Labels, ToleratesLineEndsAndMarks) {
  EXPECT_EQ(parse_labels("\xEF\xBB\xBFone\r\n\r\ntwo\r\n\n\n", "x"), (Lines{"one", "", "two"}));
  EXPECT_EQ(parse_labels("caf\xC3\xA9, l'", "x"), (Lines{"caf\xC3\xA9, l'"}));
}

TEST(Labels, RefusesWhatIsNoText) {
  expect_error(ErrorCode::bad_input, {"x.txt", "holds no label"}, [] { parse_labels("\n \n", "x.txt"); });
  expect_error(ErrorCode::bad_input, {"x.txt", "byte 2 is not UTF-8"}, [] { parse_labels("ab\xFF", "x.txt"); });
  expect_error(ErrorCode::bad_input, {"x.txt", "byte 1"}, [] { parse_labels("a\xE2\x82", "x.txt"); });
  expect_error(ErrorCode::bad_input, {"rgb.png"}, [] { load_labels(data_path("rgb.png")); });
  expect_error(ErrorCode::bad_input, {"gone.txt", "No such file"}, [] { load_labels("gone.txt"); });
}

}  // namespace
}  // namespace fcm::test
