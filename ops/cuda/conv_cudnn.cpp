// Convolution by cuDNN's operation graphs, in NHWC with channels padded to the pitch. Bias, residual and activation are fused where cuDNN
// has an engine for it; otherwise cuDNN convolves alone and one map in place does the rest.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <mutex>

#include "ops/cuda/conv.h"
#include "runtime/device/cudnn.h"
#include "runtime/device/cudnn_graph.h"

namespace fcm::ops::cuda {
namespace {

constexpr size_t kLeastWorkspace = size_t{16} << 20;  // what a candidate may always take
constexpr size_t kMostWorkspace = size_t{256} << 20;  // what the default algorithm may take, unless none takes less
constexpr size_t kCandidates = 6;

struct ConvParts {
  CudnnConvSpec spec;  // batch 1, fused; the batch is filled in by run
  Dim images;
  bool may_fuse = false;
  bool tf32 = false;
  Place x, w, bias, residual, y;  // bias in f32, always there when `may_fuse`
};

struct Algorithms {
  bool fused = false;
  std::vector<CudnnPlan> plans;
};

class CudnnConvStep : public Step {
 public:
  CudnnConvStep(ConvParts parts, Launch epilogue, Dim scratch, std::string text)
      : parts_(parts), epilogue_(std::move(epilogue)), scratch_(scratch), text_(std::move(text)) {}

  size_t workspace_bytes(int64_t max_batch, LibraryHandles& handles) const override;
  int candidates(int64_t batch, LibraryHandles& handles) const override;
  void enqueue(const StepArgs& args) const override;
  std::string describe() const override { return text_; }

 private:
  size_t scratch_bytes(int64_t batch) const { return (static_cast<size_t>(scratch_.at(batch)) + 255) / 256 * 256; }
  size_t limit(int64_t batch, LibraryHandles& handles) const;
  std::shared_ptr<const Algorithms> find(int64_t batch, LibraryHandles& handles, size_t count, size_t most_workspace) const;
  std::shared_ptr<const Algorithms> algorithms(int64_t batch, LibraryHandles& handles, size_t count) const;

  ConvParts parts_;
  Launch epilogue_;
  Dim scratch_;  // bytes of an unfused result whose dtype is not Y's
  std::string text_;
  mutable std::mutex mutex_;
  mutable std::map<std::pair<int64_t, size_t>, std::shared_ptr<const Algorithms>> known_;  // by batch and count
  mutable std::map<int64_t, size_t> limits_;                                               // by bucket
};

// The first form, fused then alone, for which cuDNN has engines within the workspace; where there is none, the engine that takes least.
std::shared_ptr<const Algorithms> CudnnConvStep::find(int64_t batch, LibraryHandles& handles, size_t count, size_t most_workspace) const {
  CudnnConvSpec spec = parts_.spec;
  spec.batch = parts_.images.at(batch);
  std::shared_ptr<Algorithms> least;
  for (const bool fused : {true, false}) {
    if (fused && !parts_.may_fuse) continue;
    spec.fuse = fused;
    auto found = std::make_shared<Algorithms>();
    found->fused = fused;
    const auto ask = [&](size_t wanted) {
      for (CudnnPlan& plan : cudnn_plans(handles.cudnn(), spec, parts_.tf32, wanted)) {
        if (plan.workspace_bytes() <= most_workspace) {
          found->plans.push_back(std::move(plan));
        } else if (least == nullptr || plan.workspace_bytes() < least->plans[0].workspace_bytes()) {
          least = std::make_shared<Algorithms>();
          least->fused = fused;
          least->plans.push_back(std::move(plan));
        }
      }
    };
    ask(count);
    if (found->plans.empty() && count < kCandidates) ask(kCandidates);
    if (!found->plans.empty()) return found;
  }
  if (least != nullptr) return least;
  throw Error(ErrorCode::unsupported, fmt::format("cuDNN {} has no algorithm for {} at batch {}", cudnn().version_text, text_, batch));
}

// Workspace of the bucket (the next power of two) that a batch belongs to: what its default algorithm takes, or more.
size_t CudnnConvStep::limit(int64_t batch, LibraryHandles& handles) const {
  const auto bucket = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::max<int64_t>(batch, 1))));
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = limits_.find(bucket); found != limits_.end()) return found->second;
  }
  const size_t bytes = std::max(kLeastWorkspace, find(bucket, handles, 1, kMostWorkspace)->plans.front().workspace_bytes());
  const std::lock_guard lock(mutex_);
  return limits_.emplace(bucket, bytes).first->second;
}

std::shared_ptr<const Algorithms> CudnnConvStep::algorithms(int64_t batch, LibraryHandles& handles, size_t count) const {
  const std::pair key(batch, count);
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = known_.find(key); found != known_.end()) return found->second;
  }
  auto made = find(batch, handles, count, limit(batch, handles));
  const std::lock_guard lock(mutex_);
  return known_.emplace(key, std::move(made)).first->second;
}

size_t CudnnConvStep::workspace_bytes(int64_t max_batch, LibraryHandles& handles) const {
  size_t most = 0;
  for (int64_t bucket = 1;; bucket *= 2) {
    most = std::max(most, limit(bucket, handles));
    if (bucket >= max_batch || !parts_.images.batch) break;
  }
  return scratch_bytes(max_batch) + most;
}

int CudnnConvStep::candidates(int64_t batch, LibraryHandles& handles) const {
  return static_cast<int>(algorithms(batch, handles, kCandidates)->plans.size());
}

void CudnnConvStep::enqueue(const StepArgs& args) const {
  if (parts_.images.at(args.batch) == 0) return;
  const auto algos = algorithms(args.batch, *args.handles, args.choice == 0 ? 1 : kCandidates);
  if (args.choice < 0 || static_cast<size_t>(args.choice) >= algos->plans.size())
    throw Error(ErrorCode::internal, fmt::format("{}: candidate {} of {}", text_, args.choice, algos->plans.size()));
  const CudnnPlan& plan = algos->plans[static_cast<size_t>(args.choice)];
  cudnnHandle_t handle = args.handles->cudnn();
  cudnn_check(cudnn().set_stream(handle, args.stream), "cudnnSetStream");
  const size_t scratch = scratch_bytes(args.batch);
  void* workspace = Place::workspace(scratch).resolve(args);
  void* target = !algos->fused && scratch > 0 ? args.workspace : parts_.y.resolve(args);
  plan.execute(handle, parts_.x.resolve(args), parts_.w.resolve(args), algos->fused ? parts_.bias.resolve(args) : nullptr,
               algos->fused && parts_.spec.residual ? parts_.residual.resolve(args) : nullptr, target, workspace);
  StepArgs behind = args;
  behind.overlaps = true;
  if (!algos->fused) epilogue_.enqueue(behind);
}

CudnnConvSpec make_spec(const Request& r, const Conv& op, const ConvShape& s) {
  CudnnConvSpec spec;
  spec.channels = s.pitch_in;
  spec.height = s.height;
  spec.width = s.width;
  spec.filters = s.pitch_out;
  for (size_t axis = 0; axis < 2; ++axis) {
    spec.kernel[axis] = s.kernel[axis];
    spec.stride[axis] = s.stride[axis];
    spec.pad_begin[axis] = s.pad_begin[axis];
    spec.pad_end[axis] = s.pad_end[axis];
    spec.dilation[axis] = s.dilation[axis];
  }
  spec.groups = s.group;
  spec.dtype = r.inputs[0]->layout.dtype;
  spec.activation = op.activation;
  spec.residual = r.has(3);
  spec.residual_after_activation = op.residual_after_activation;
  return spec;
}

}  // namespace

std::unique_ptr<Step> make_cudnn_conv(const Request& r, const Conv& op, const ConvShape& s) {
  const DType dtype = r.inputs[0]->layout.dtype;
  const DType stored = r.outputs[0].layout.dtype;
  ConvParts parts;
  parts.spec = make_spec(r, op, s);
  parts.images = s.images();
  parts.tf32 = r.build.tf32;
  parts.x = r.source(0).place;
  parts.w = pack_krsc(r, s, s.group == 1 ? s.pitch_in : s.group_in(), s.pitch_out, dtype);
  parts.bias = r.has(2) ? pack_bias(r, s.pitch_out, DType::f32) : float_weights({}, static_cast<size_t>(s.pitch_out), r.build.weights);
  parts.y = Place::output(0);
  std::vector<Source> operands;
  // An unfused result of another dtype than Y's waits in the workspace.
  const bool in_place = stored == dtype;
  const int64_t pixels = s.out_height * s.out_width * s.pitch_out;
  const Dim scratch = in_place ? Dim(0) : multiply(s.images(), Dim(pixels * static_cast<int64_t>(dtype_size(dtype))));
  DeviceTensor convolved = r.outputs[0];
  convolved.layout.dtype = dtype;
  operands.push_back({convolved, in_place ? Place::output(0) : Place::workspace(0), 0});
  Shape channel_axis = {Dim(1), Dim(s.filters), Dim(1), Dim(1)};
  operands.push_back({{channel_axis, {Order::rows, DType::f32, 0}}, parts.bias, s.pitch_out});
  bool same_residual = true;
  if (r.has(3)) {
    const Source residual = r.source(3);
    parts.residual = residual.place;
    same_residual = residual.tensor.layout.dtype == dtype && residual.tensor.layout.channel_pitch == s.pitch_out;
    operands.push_back(residual);
  }
  // Pad lanes convolve to 0: fusing keeps them so only if the activation does.
  const bool keeps_zero = s.pitch_out == s.filters || apply(op.activation, 0.0f) == 0.0f;
  parts.may_fuse = in_place && same_residual && keeps_zero && cudnn_graph_supports(op.activation);
  Launch epilogue = map_launch("conv_epilogue", operands, r.result(), epilogue_text(op, "(a0 + a1)", r.has(3) ? "a2" : ""), r.build);
  const std::string text = fmt::format("cudnn {}x{} s{} C={} F={} {}x{} {}", s.kernel[0], s.kernel[1], s.stride[0], s.channels, s.filters,
                                       s.out_height, s.out_width, dtype_name(dtype));
  return std::make_unique<CudnnConvStep>(parts, std::move(epilogue), scratch, text);
}

}  // namespace fcm::ops::cuda
