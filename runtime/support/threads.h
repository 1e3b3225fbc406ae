// Independent pieces of work on several cores.
#pragma once

#include <cstddef>
#include <functional>

namespace fcm {

/// Calls body(item, worker) for every item in [0, count), on up to `threads` threads (0: all cores), of which the caller is worker 0. The
/// threads log where the caller logs. The first item's error is thrown after all have ended.
void on_threads(size_t count, int threads, const std::function<void(size_t item, size_t worker)>& body);

}  // namespace fcm
