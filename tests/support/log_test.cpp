#include "runtime/support/log.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace fcm {
namespace {

TEST(Log, ScopesNestAndRestore) {
  std::vector<std::string> outer_seen;
  std::vector<std::string> inner_seen;
  const LogTarget outer{LogLevel::info, [&](LogLevel, const std::string& m) { outer_seen.push_back(m); }};
  const LogTarget inner{LogLevel::error, [&](LogLevel, const std::string& m) { inner_seen.push_back(m); }};
  const LogScope outer_scope(outer);
  log(LogLevel::info, "one {}", 1);
  log(LogLevel::debug, "below the level");
  {
    const LogScope inner_scope(inner);
    log(LogLevel::warning, "below the inner level");
    log(LogLevel::error, "two");
  }
  log(LogLevel::warning, "three");
  EXPECT_EQ(outer_seen, (std::vector<std::string>{"one 1", "three"}));
  EXPECT_EQ(inner_seen, (std::vector<std::string>{"two"}));
}

TEST(Log, AnotherThreadHasItsOwnTarget) {
  std::vector<std::string> seen;
  const LogTarget target{LogLevel::info, [&](LogLevel, const std::string& m) { seen.push_back(m); }};
  const LogScope scope(target);
  std::thread([&] { EXPECT_EQ(&current_log_target(), &default_log_target()); }).join();
  std::thread([&, &mine = current_log_target()] {
    const LogScope worker(mine);
    log(LogLevel::info, "from a worker");
  }).join();
  EXPECT_EQ(seen, (std::vector<std::string>{"from a worker"}));
}

}  // namespace
}  // namespace fcm
