// Expectations on errors: the code, and words that the message must hold.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "runtime/support/error.h"

namespace fcm::testing {

inline void expect_error(ErrorCode code, const std::vector<std::string>& words, const std::function<void()>& action) {
  try {
    action();
    ADD_FAILURE() << "no error; expected one that says: " << ::testing::PrintToString(words);
  } catch (const Error& e) {
    const std::string message = e.what();
    EXPECT_EQ(static_cast<int>(e.code()), static_cast<int>(code)) << message;
    for (const std::string& word : words) {
      EXPECT_NE(message.find(word), std::string::npos) << "missing \"" << word << "\" in: " << message;
    }
  }
}

}  // namespace fcm::testing
