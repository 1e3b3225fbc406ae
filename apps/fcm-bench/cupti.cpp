// CUPTI hands over records in buffers through callbacks without user data, so that the collection is one of the process.
#include <cupti.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>

#include "apps/fcm-bench/cupti.h"
#include "runtime/device/dynlib.h"
#include "runtime/support/error.h"

namespace fcm::bench {
namespace {

struct Functions {
  decltype(&cuptiActivityRegisterCallbacks) register_callbacks = nullptr;
  decltype(&cuptiActivityEnable) enable = nullptr;
  decltype(&cuptiActivityDisable) disable = nullptr;
  decltype(&cuptiActivityFlushAll) flush = nullptr;
  decltype(&cuptiActivityGetNextRecord) next_record = nullptr;
  decltype(&cuptiActivityPushExternalCorrelationId) push = nullptr;
  decltype(&cuptiActivityPopExternalCorrelationId) pop = nullptr;
  decltype(&cuptiGetResultString) text = nullptr;

  explicit Functions(const DynamicLibrary& library) {
    library.bind(register_callbacks, "cuptiActivityRegisterCallbacks");
    library.bind(enable, "cuptiActivityEnable");
    library.bind(disable, "cuptiActivityDisable");
    library.bind(flush, "cuptiActivityFlushAll");
    library.bind(next_record, "cuptiActivityGetNextRecord");
    library.bind(push, "cuptiActivityPushExternalCorrelationId");
    library.bind(pop, "cuptiActivityPopExternalCorrelationId");
    library.bind(text, "cuptiGetResultString");
  }
  void check(CUptiResult result, const char* call) const {
    if (result == CUPTI_SUCCESS) return;
    const char* reason = nullptr;
    text(result, &reason);
    throw Error(ErrorCode::device, fmt::format("{}: {}", call, reason == nullptr ? "unknown CUPTI error" : reason));
  }
};

struct Execution {
  uint32_t correlation = 0;
  double us = 0;
  std::string kernel;  // empty: a copy or a fill
};

// What the callbacks collect.
struct Collection {
  std::mutex mutex;
  const Functions* functions = nullptr;
  std::vector<Execution> executions;
  std::map<uint32_t, uint64_t> steps;               // by correlation id of the API call
  std::vector<std::pair<uint64_t, double>> graphs;  // start in ns, duration in us
  bool untimed_graph = false;
};

Collection& collection() {
  static Collection collected;
  return collected;
}

double duration_us(uint64_t start, uint64_t end) {
  return static_cast<double>(end - start) / 1000;
}

void collect(Collection& into, const CUpti_Activity* record) {
  switch (record->kind) {
    case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL: {
      const auto* kernel = reinterpret_cast<const CUpti_ActivityKernel10*>(record);
      into.executions.push_back({kernel->correlationId, duration_us(kernel->start, kernel->end), kernel->name});
      break;
    }
    case CUPTI_ACTIVITY_KIND_MEMCPY: {
      const auto* copy = reinterpret_cast<const CUpti_ActivityMemcpy6*>(record);
      into.executions.push_back({copy->correlationId, duration_us(copy->start, copy->end), {}});
      break;
    }
    case CUPTI_ACTIVITY_KIND_MEMSET: {
      const auto* fill = reinterpret_cast<const CUpti_ActivityMemset4*>(record);
      into.executions.push_back({fill->correlationId, duration_us(fill->start, fill->end), {}});
      break;
    }
    case CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION: {
      const auto* external = reinterpret_cast<const CUpti_ActivityExternalCorrelation*>(record);
      into.steps[external->correlationId] = external->externalId;
      break;
    }
    case CUPTI_ACTIVITY_KIND_GRAPH_TRACE: {
      const auto* graph = reinterpret_cast<const CUpti_ActivityGraphTrace2*>(record);
      if (graph->start == 0 && graph->end == 0) into.untimed_graph = true;
      into.graphs.emplace_back(graph->start, duration_us(graph->start, graph->end));
      break;
    }
    default:
      break;
  }
}

constexpr size_t kBufferBytes = size_t{1} << 20;
constexpr std::align_val_t kBufferAlignment{8};

void CUPTIAPI buffer_requested(uint8_t** buffer, size_t* size, size_t* max_records) {
  *buffer = static_cast<uint8_t*>(::operator new(kBufferBytes, kBufferAlignment, std::nothrow));
  *size = *buffer == nullptr ? 0 : kBufferBytes;
  *max_records = 0;
}

void CUPTIAPI buffer_completed(CUcontext /*context*/, uint32_t /*stream*/, uint8_t* buffer, size_t /*size*/, size_t valid) {
  Collection& into = collection();
  const std::lock_guard lock(into.mutex);
  CUpti_Activity* record = nullptr;
  while (into.functions != nullptr && into.functions->next_record(buffer, valid, &record) == CUPTI_SUCCESS) collect(into, record);
  ::operator delete(buffer, kBufferAlignment);
}

constexpr std::array kStepKinds = {CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION, CUPTI_ACTIVITY_KIND_RUNTIME, CUPTI_ACTIVITY_KIND_DRIVER,
                                   CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL,    CUPTI_ACTIVITY_KIND_MEMCPY,  CUPTI_ACTIVITY_KIND_MEMSET};

class CuptiTrace final : public ActivityTrace {
 public:
  explicit CuptiTrace(const Functions& functions) : f_(functions) {
    collection().functions = &f_;
    f_.check(f_.register_callbacks(buffer_requested, buffer_completed), "cuptiActivityRegisterCallbacks");
    // Kinds that are refused (no permission, another profiler) are found out now.
    for (const CUpti_ActivityKind kind : kStepKinds) f_.check(f_.enable(kind), "cuptiActivityEnable");
    disable_steps();
    f_.check(f_.enable(CUPTI_ACTIVITY_KIND_GRAPH_TRACE), "cuptiActivityEnable");
    f_.disable(CUPTI_ACTIVITY_KIND_GRAPH_TRACE);
  }
  ~CuptiTrace() override {
    if (in_step_) f_.pop(CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0, nullptr);
    disable_steps();
    f_.disable(CUPTI_ACTIVITY_KIND_GRAPH_TRACE);
    f_.flush(1);
    const std::lock_guard lock(collection().mutex);
    collection().functions = nullptr;
  }
  CuptiTrace(const CuptiTrace&) = delete;
  CuptiTrace& operator=(const CuptiTrace&) = delete;

  void begin_step(size_t step) override {
    if (in_step_) {
      f_.check(f_.pop(CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0, nullptr), "cuptiActivityPopExternalCorrelationId");
    } else {
      clear();
      for (const CUpti_ActivityKind kind : kStepKinds) f_.check(f_.enable(kind), "cuptiActivityEnable");
    }
    in_step_ = true;
    f_.check(f_.push(CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0, step), "cuptiActivityPushExternalCorrelationId");
  }

  std::vector<StepActivity> end_steps(size_t steps) override {
    if (in_step_) f_.check(f_.pop(CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0, nullptr), "cuptiActivityPopExternalCorrelationId");
    in_step_ = false;
    disable_steps();
    f_.check(f_.flush(1), "cuptiActivityFlushAll");
    Collection& collected = collection();
    const std::lock_guard lock(collected.mutex);
    std::vector<StepActivity> activity(steps);
    for (const Execution& e : collected.executions) {
      const auto step = collected.steps.find(e.correlation);
      if (step == collected.steps.end() || step->second >= steps)
        throw Error(ErrorCode::device, fmt::format("CUPTI recorded {} outside of every step", e.kernel.empty() ? "a copy" : e.kernel));
      StepActivity& a = activity[step->second];
      a.us += e.us;
      if (e.kernel.empty()) continue;
      ++a.kernels;
      a.names.push_back(e.kernel);
    }
    return activity;
  }

  void begin_graphs() override {
    clear();
    f_.check(f_.enable(CUPTI_ACTIVITY_KIND_GRAPH_TRACE), "cuptiActivityEnable");
  }

  std::vector<double> end_graphs() override {
    f_.disable(CUPTI_ACTIVITY_KIND_GRAPH_TRACE);
    f_.check(f_.flush(1), "cuptiActivityFlushAll");
    Collection& collected = collection();
    const std::lock_guard lock(collected.mutex);
    if (collected.untimed_graph) throw Error(ErrorCode::device, "CUPTI recorded a graph without its times");
    std::sort(collected.graphs.begin(), collected.graphs.end());
    std::vector<double> times;
    for (const auto& [start, us] : collected.graphs) times.push_back(us);
    return times;
  }

 private:
  void disable_steps() {
    for (const CUpti_ActivityKind kind : kStepKinds) f_.disable(kind);
  }
  void clear() {
    f_.check(f_.flush(1), "cuptiActivityFlushAll");
    Collection& collected = collection();
    const std::lock_guard lock(collected.mutex);
    collected.executions.clear();
    collected.steps.clear();
    collected.graphs.clear();
    collected.untimed_graph = false;
  }

  Functions f_;
  bool in_step_ = false;
};

}  // namespace

std::unique_ptr<ActivityTrace> open_activity_trace(std::string& reason) {
  try {
    const DynamicLibrary library("CUPTI (CUDA 13)", {"libcupti.so.13"});
    return std::make_unique<CuptiTrace>(Functions(library));
  } catch (const Error& e) {
    const std::string text = e.what();
    reason = text.substr(0, text.find(';'));
    return nullptr;
  }
}

}  // namespace fcm::bench
