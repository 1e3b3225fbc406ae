// Work on several threads: everything is done once, errors wait for the rest, messages reach the caller's log.
#include "runtime/support/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "runtime/support/log.h"

namespace fcm {
namespace {

TEST(Threads, EveryItemIsDoneOnceByAWorkerThatExists) {
  for (const int threads : {0, 1, 3, 200}) {
    std::vector<std::atomic<int>> done(100);
    std::atomic<size_t> largest{0};
    on_threads(done.size(), threads, [&](size_t item, size_t worker) {
      ++done[item];
      for (size_t seen = largest; worker > seen && !largest.compare_exchange_weak(seen, worker);) {
      }
    });
    for (const auto& count : done) EXPECT_EQ(count, 1);
    if (threads > 0) {
      EXPECT_LT(largest, static_cast<size_t>(threads));
    }
  }
  on_threads(0, 4, [](size_t, size_t) { FAIL(); });
}

TEST(Threads, TheFirstItemsErrorIsThrownAfterAllHaveEnded) {
  std::atomic<int> done{0};
  std::string text;
  try {
    on_threads(50, 4, [&](size_t item, size_t) {
      ++done;
      if (item % 10 == 7) throw std::runtime_error(std::to_string(item));
    });
  } catch (const std::runtime_error& e) {
    text = e.what();
  }
  EXPECT_EQ(text, "7");
  EXPECT_EQ(done, 50);
}

TEST(Threads, MessagesReachTheCallersLog) {
  std::mutex mutex;
  int heard = 0;
  LogTarget target;
  target.level = LogLevel::info;
  target.sink = [&](LogLevel, const std::string&) {
    const std::lock_guard lock(mutex);
    ++heard;
  };
  const LogScope scope(target);
  on_threads(20, 4, [](size_t item, size_t) { log(LogLevel::info, "item {}", item); });
  EXPECT_EQ(heard, 20);
}

}  // namespace
}  // namespace fcm
