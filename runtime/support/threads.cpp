#include "runtime/support/threads.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>
#include <vector>

#include "runtime/support/log.h"

namespace fcm {

void on_threads(size_t count, int threads, const std::function<void(size_t, size_t)>& body) {
  std::vector<std::exception_ptr> errors(count);
  const LogTarget& log_target = current_log_target();
  std::atomic<size_t> next{0};
  const auto work = [&](size_t worker) {
    const LogScope scope(log_target);
    for (size_t i = next++; i < count; i = next++) {
      try {
        body(i, worker);
      } catch (...) {
        errors[i] = std::current_exception();
      }
    }
  };
  const size_t wanted = threads > 0 ? static_cast<size_t>(threads) : std::max(1U, std::thread::hardware_concurrency());
  {
    std::vector<std::jthread> pool;
    for (size_t worker = 1; worker < std::min(wanted, count); ++worker) pool.emplace_back(work, worker);
    work(0);
  }
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace fcm
