#include "apps/fcm-bench/cudnn_layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "apps/fcm-bench/graph_timer.h"
#include "runtime/device/cudnn.h"
#include "runtime/support/error.h"
#include "runtime/support/threads.h"

namespace fcm::bench {
namespace {

constexpr size_t kWorkspaceLimit = size_t{256} << 20;

}  // namespace

CudnnHandle::CudnnHandle() {
  cudnn_check(cudnn().create(&handle_), "cudnnCreate");
}

CudnnHandle::~CudnnHandle() {
  cudnn().destroy(handle_);
}

CudnnLayers::CudnnLayers(const DeviceInfo& device, bool tf32, size_t plans, LayerChoices known)
    : device_(device), tf32_(tf32), plans_(plans), known_(std::move(known)), workspace_(kWorkspaceLimit) {}

size_t CudnnLayers::build(const std::vector<CudnnConvSpec>& layers) {
  struct Task {
    const CudnnConvSpec* layer;
    std::string key;
    bool fused;
    std::string engine;  // empty: all
    std::vector<LayerForm> forms;
  };
  std::vector<Task> tasks;
  for (const CudnnConvSpec& layer : layers) {
    const std::string key = key_of(layer);
    if (!forms_.try_emplace(key).second) continue;
    const auto known = known_.find(key);
    const std::string form = known == known_.end() ? "" : known->second;
    for (const bool fused : {true, false}) {
      if (fused && !cudnn_graph_supports(layer.activation)) continue;
      if (!form.empty() && form.starts_with("fused") != fused) continue;
      tasks.push_back({&layer, key, fused, form.substr(form.find(' ') + 1), {}});
    }
  }
  const size_t threads = std::min<size_t>(tasks.size(), std::max(1U, std::thread::hardware_concurrency()));
  handles_.resize(std::max(handles_.size(), threads));
  on_threads(tasks.size(), static_cast<int>(threads), [&](size_t i, size_t worker) {
    const DeviceGuard guard(device_.ordinal);
    if (!handles_[worker]) handles_[worker] = std::make_shared<CudnnHandle>();
    tasks[i].forms = propose(*tasks[i].layer, handles_[worker], tasks[i].fused, tasks[i].engine);
  });
  size_t built = 0;
  for (Task& task : tasks) {
    built += task.forms.size();
    std::move(task.forms.begin(), task.forms.end(), std::back_inserter(forms_[task.key]));
  }
  return built;
}

std::vector<LayerForm> CudnnLayers::propose(const CudnnConvSpec& layer, const std::shared_ptr<CudnnHandle>& handle, bool fused,
                                            const std::string& engine) const {
  CudnnConvSpec conv = layer;
  conv.fuse = fused;
  std::vector<LayerForm> forms;
  for (CudnnPlan& plan : cudnn_plans(handle->get(), conv, tf32_, plans_, engine)) {
    if (plan.workspace_bytes() <= kWorkspaceLimit) forms.push_back({handle, std::move(plan), fused, nullptr});
  }
  return forms;
}

const LayerForm& CudnnLayers::fastest(const CudnnConvSpec& layer, const LayerOperands& operands) {
  const std::string key = key_of(layer);
  std::vector<LayerForm>& forms = forms_.at(key);
  if (choices_.contains(key)) return forms.front();
  double best_us = 0;
  size_t chosen = forms.size();
  for (size_t i = 0; i < forms.size(); ++i) {
    if (!forms[i].fused) forms[i].epilogue = epilogue(layer);
    try {
      const double us = forms.size() == 1 ? 0 : time_us(forms[i], layer, operands, best_us);
      if (chosen == forms.size() || us < best_us) {
        best_us = us;
        chosen = i;
      }
    } catch (const Error& e) {
      if (e.code() == ErrorCode::device_lost) throw;  // an engine that refuses to run is only not a candidate
    }
  }
  if (chosen == forms.size()) throw Error(ErrorCode::unsupported, "cuDNN has no engine for " + key);
  if (chosen != 0) std::swap(forms.front(), forms[chosen]);
  forms.erase(forms.begin() + 1, forms.end());
  choices_[key] = forms.front().text();
  return forms.front();
}

// The median of a few rounds; of one replay where that is far from the best.
double CudnnLayers::time_us(const LayerForm& form, const CudnnConvSpec& layer, const LayerOperands& operands, double best_us) const {
  constexpr double kFar = 2;
  TimerOptions quick;
  quick.repetitions = 5;
  quick.rounds = 3;
  quick.replays = 5;
  std::vector<TimedGraph> graphs;
  graphs.emplace_back([&](cudaStream_t stream) { run(form, layer, operands, stream); }, quick);
  const double once_us = graphs.front().replay_once() / quick.repetitions;
  if (best_us > 0 && once_us > kFar * best_us) return once_us;
  return time_in_turn(graphs, quick).front().median_us;
}

void CudnnLayers::run(const LayerForm& form, const CudnnConvSpec& layer, const LayerOperands& o, cudaStream_t stream) const {
  cudnn_check(cudnn().set_stream(form.handle->get(), stream), "cudnnSetStream");
  const void* bias = form.fused ? o.bias : nullptr;
  const void* residual = form.fused && layer.residual ? o.residual : nullptr;
  form.plan.execute(form.handle->get(), o.input, o.weights, bias, residual, o.output, workspace_.data());
  if (form.fused) return;
  const auto elements = static_cast<size_t>(layer.batch * layer.out_height() * layer.out_width() * layer.filters);
  form.epilogue->launch(stream, o.output, static_cast<const float*>(o.bias), o.residual, static_cast<int>(layer.filters),
                        elements * dtype_size(layer.dtype) / 16);
}

std::shared_ptr<const EpilogueKernel> CudnnLayers::epilogue(const CudnnConvSpec& layer) {
  const int residual = !layer.residual ? 0 : layer.residual_after_activation ? 2 : 1;
  auto& kernel = epilogues_[fmt::format("{} {} {}", dtype_name(layer.dtype), to_string(layer.activation), residual)];
  if (!kernel) kernel = std::make_shared<EpilogueKernel>(device_, layer.dtype, layer.activation, residual);
  return kernel;
}

}  // namespace fcm::bench
