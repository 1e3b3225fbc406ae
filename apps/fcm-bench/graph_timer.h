// Times work as a user of CUDA graphs meets it: a sequence captured once and replayed back to back.
#pragma once

#include <functional>
#include <vector>

#include "runtime/device/stream.h"

namespace fcm::bench {

struct Timing {
  double median_us = 0;  ///< of the rounds; each round's time over its replays and repetitions
  double min_us = 0, max_us = 0;
  double single_us = 0;  ///< median time of one replay on its own, synchronised, whole graph (all repetitions)
};

struct TimerOptions {
  int repetitions = 50;  ///< times the sequence stands in the graph at most, so that the graph's own launch cost does not show
  int rounds = 7;
  int replays = 200;  ///< back to back in a round
};

/// A captured graph of `repetitions` times what `enqueue` puts on the stream.
class TimedGraph {
 public:
  /// Runs `enqueue` once uncaptured first.
  TimedGraph(const std::function<void(cudaStream_t)>& enqueue, const TimerOptions& options);

  /// One round: microseconds a repetition.
  double round();
  /// One synchronised replay of the whole graph, microseconds.
  double replay_once();

 private:
  TimerOptions options_;
  Stream stream_;
  GraphExec graph_;
  Event begin_{true}, end_{true};
};

/// Rounds of all graphs taken in turn, so that a drift of the clocks meets all alike.
std::vector<Timing> time_in_turn(std::vector<TimedGraph>& graphs, const TimerOptions& options);

}  // namespace fcm::bench
