#include "apps/fcm-bench/graph_timer.h"

#include <algorithm>

#include "runtime/device/cuda_check.h"

namespace fcm::bench {
namespace {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : 0.5 * (values[half - 1] + values[half]);
}

GraphExec capture(cudaStream_t stream, const std::function<void(cudaStream_t)>& enqueue, int repetitions) {
  cudaGraph_t graph = nullptr;
  cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
  try {
    for (int i = 0; i < repetitions; ++i) enqueue(stream);
  } catch (...) {
    cudaStreamEndCapture(stream, &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    throw;
  }
  cuda_check(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
  try {
    GraphExec exec(graph);
    cudaGraphDestroy(graph);
    return exec;
  } catch (...) {
    cudaGraphDestroy(graph);
    throw;
  }
}

}  // namespace

TimedGraph::TimedGraph(const std::function<void(cudaStream_t)>& enqueue, const TimerOptions& options) : options_(options) {
  enqueue(stream_.get());
  synchronize(stream_.get());
  graph_ = capture(stream_.get(), enqueue, options.repetitions);
  graph_.launch(stream_.get());
  synchronize(stream_.get());
}

double TimedGraph::round() {
  begin_.record(stream_.get());
  for (int i = 0; i < options_.replays; ++i) graph_.launch(stream_.get());
  end_.record(stream_.get());
  synchronize(end_);
  return elapsed_us(begin_, end_) / options_.replays / options_.repetitions;
}

double TimedGraph::replay_once() {
  begin_.record(stream_.get());
  graph_.launch(stream_.get());
  end_.record(stream_.get());
  synchronize(end_);
  return elapsed_us(begin_, end_);
}

std::vector<Timing> time_in_turn(std::vector<TimedGraph>& graphs, const TimerOptions& options) {
  std::vector<std::vector<double>> rounds(graphs.size());
  std::vector<std::vector<double>> singles(graphs.size());
  for (int r = 0; r < options.rounds; ++r) {
    for (size_t g = 0; g < graphs.size(); ++g) {
      rounds[g].push_back(graphs[g].round());
      singles[g].push_back(graphs[g].replay_once());
    }
  }
  std::vector<Timing> timings;
  for (size_t g = 0; g < graphs.size(); ++g) {
    const auto [low, high] = std::minmax_element(rounds[g].begin(), rounds[g].end());
    timings.push_back({median(rounds[g]), *low, *high, median(singles[g])});
  }
  return timings;
}

}  // namespace fcm::bench
