#include "apps/fcm-bench/unfused.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "apps/fcm-bench/graph_timer.h"
#include "embed/bench_kernels.h"
#include "runtime/device/cuda_check.h"
#include "runtime/device/cudnn.h"
#include "runtime/support/error.h"

namespace fcm::bench {
namespace {

constexpr size_t kWorkspaceLimit = size_t{256} << 20;

// [F][C/g][kh][kw] (ONNX) to [F][kh][kw][C/g], both channel counts padded with zeros.
std::vector<float> to_krsc(const StageSpec& s, const std::vector<float>& weight, int in, int out) {
  const bool depthwise = s.op == StageOp::dw;
  const int depth = depthwise ? 1 : s.in_channels;
  const int padded_depth = depthwise ? 1 : in;
  const int taps = s.kernel_h * s.kernel_w;
  std::vector<float> packed(static_cast<size_t>(out) * static_cast<size_t>(taps) * static_cast<size_t>(padded_depth), 0.0f);
  for (int f = 0; f < s.out_channels; ++f) {
    for (int c = 0; c < depth; ++c) {
      for (int t = 0; t < taps; ++t) {
        packed[(static_cast<size_t>(f) * static_cast<size_t>(taps) + static_cast<size_t>(t)) * static_cast<size_t>(padded_depth) +
               static_cast<size_t>(c)] =
            weight[(static_cast<size_t>(f) * static_cast<size_t>(depth) + static_cast<size_t>(c)) * static_cast<size_t>(taps) +
                   static_cast<size_t>(t)];
      }
    }
  }
  return packed;
}

// The activation as a C expression of x, for the pointwise kernel.
std::string activation_text(const Unary& u) {
  switch (u.fn) {
    case UnaryFn::identity:
      return "(x)";
    case UnaryFn::relu:
      return "fmaxf((x), 0.0f)";
    case UnaryFn::clip:
      return fmt::format("fminf(fmaxf((x), {:.9e}f), {:.9e}f)", u.a, u.b);
    case UnaryFn::silu:
      return "((x) / (1.0f + __expf(-(x))))";
    case UnaryFn::sigmoid:
      return "(1.0f / (1.0f + __expf(-(x))))";
    case UnaryFn::hard_swish:
      return "((x) * __saturatef((x) * (1.0f / 6.0f) + 0.5f))";
    case UnaryFn::hard_sigmoid:
      return fmt::format("__saturatef((x) * {:.9e}f + {:.9e}f)", u.a, u.b);
    case UnaryFn::gelu:
      return "(0.5f * (x) * (1.0f + erff((x) * 0.70710678f)))";
    default:
      throw Error(ErrorCode::unsupported, "the unfused form has no pointwise kernel for " + to_string(u));
  }
}

jit::Binary compile_epilogue(const DeviceInfo& device, DType dtype, const Unary& activation, int residual) {
  jit::Program program;
  program.name = "bench epilogue";
  program.source = fmt::format("{}#define ACTIVATION(x) {}\n#define RESIDUAL {}\n",
                               dtype == DType::f16    ? "#define EPILOGUE_F16\n"
                               : dtype == DType::bf16 ? "#define EPILOGUE_BF16\n"
                                                      : "",
                               activation_text(activation), residual) +
                   embedded::bench_kernels().at("apps/fcm-bench/kernels/bench.cuh");
  return jit::compile(program, device.target, jit::DiskCache::standard());
}

}  // namespace

CudnnHandle::CudnnHandle() {
  cudnn_check(cudnn().create(&handle_), "cudnnCreate");
}

CudnnHandle::~CudnnHandle() {
  cudnn().destroy(handle_);
}

EpilogueKernel::EpilogueKernel(const DeviceInfo& device, DType dtype, const Unary& activation, int residual)
    : blocks_(device.sm_count * 8), module_(compile_epilogue(device, dtype, activation, residual)) {}

void EpilogueKernel::launch(cudaStream_t stream, void* y, const float* bias, const void* residual, int channels, size_t vectors) const {
  unsigned long long count = vectors;
  std::array<void*, 5> arguments = {&y, &bias, &residual, &channels, &count};
  constexpr unsigned kThreads = 256;
  const auto blocks = static_cast<unsigned>(std::min<size_t>(static_cast<size_t>(blocks_), (vectors + kThreads - 1) / kThreads));
  cuda_check(cudaLaunchKernel(module_.kernel("epilogue"), dim3(blocks), dim3(kThreads), arguments.data(), 0, stream), "epilogue");
}

UnfusedModule::UnfusedModule(const DeviceInfo& device, CudnnHandle& handle, const ModuleSpec& spec, int64_t batch, const Operands& operands,
                             size_t plans)
    : device_(device), handle_(handle), dtype_(dtype_of(spec)), batch_(batch), tf32_(spec.tf32), workspace_(kWorkspaceLimit) {
  const std::vector<Plane> planes = planes_of(spec);
  const void* input = operands.input.data();
  if (spec.input == InputTransform::nchw_f32) {
    // The conversion to NHWC is left out of the unfused form's time, in its favour.
    const size_t count = static_cast<size_t>(batch * spec.height * spec.width * padded(spec.stages.front().in_channels, dtype_));
    image_ = upload(std::vector<float>(count, 0.25f), dtype_);
    input = image_.data();
  }
  for (size_t i = 0; i < spec.stages.size(); ++i) {
    Layer layer = make_layer(spec.stages[i], planes[i], operands.weights.stages[i]);
    layer.input = input;
    if (i + 1 == spec.stages.size() && spec.residual != geometry::Residual::none) {
      layer.residual = spec.residual_is_input ? operands.input.data() : operands.residual.data();
      layer.conv.residual = true;
      layer.conv.residual_after_activation = spec.residual == geometry::Residual::after_activation;
    }
    choose(layer, plans);
    input = layer.output.data();
    layers_.push_back(std::move(layer));
  }
}

UnfusedModule::Layer UnfusedModule::make_layer(const StageSpec& stage, const Plane& in, const StageWeights& weights) const {
  Layer layer;
  CudnnConvSpec& c = layer.conv;
  c.batch = batch_;
  c.channels = padded(stage.in_channels, dtype_);
  c.filters = padded(stage.out_channels, dtype_);
  c.height = in.height;
  c.width = in.width;
  c.kernel[0] = stage.kernel_h;
  c.kernel[1] = stage.kernel_w;
  c.stride[0] = stage.stride_h;
  c.stride[1] = stage.stride_w;
  c.pad_begin[0] = stage.pad_top;
  c.pad_begin[1] = stage.pad_left;
  c.pad_end[0] = stage.pad_bottom;
  c.pad_end[1] = stage.pad_right;
  c.dilation[0] = stage.dilation_h;
  c.dilation[1] = stage.dilation_w;
  c.groups = stage.op == StageOp::dw ? c.channels : 1;
  c.dtype = dtype_;
  c.activation = stage.activation;
  std::vector<float> bias = weights.bias;
  bias.resize(static_cast<size_t>(c.filters), 0.0f);
  layer.bias = upload(bias, DType::f32);
  layer.weights = upload(to_krsc(stage, weights.weight, static_cast<int>(c.channels), static_cast<int>(c.filters)), dtype_);
  layer.output = DeviceBuffer(static_cast<size_t>(c.batch * c.out_height() * c.out_width() * c.filters) * dtype_size(dtype_));
  return layer;
}

void UnfusedModule::choose(Layer& layer, size_t plans) {
  std::vector<std::pair<bool, CudnnPlan>> candidates;
  if (cudnn_graph_supports(layer.conv.activation)) {
    for (CudnnPlan& plan : cudnn_plans(handle_.get(), layer.conv, tf32_, plans)) candidates.emplace_back(true, std::move(plan));
  }
  CudnnConvSpec alone = layer.conv;
  alone.fuse = false;
  for (CudnnPlan& plan : cudnn_plans(handle_.get(), alone, tf32_, plans)) candidates.emplace_back(false, std::move(plan));
  const int residual = !layer.conv.residual ? 0 : layer.conv.residual_after_activation ? 2 : 1;
  layer.epilogue = std::make_shared<EpilogueKernel>(device_, dtype_, layer.conv.activation, residual);

  TimerOptions quick;
  quick.repetitions = 5;
  quick.rounds = 3;
  quick.replays = 5;
  double best = 0;
  size_t chosen = candidates.size();
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (candidates[i].second.workspace_bytes() > kWorkspaceLimit) continue;
    layer.fused = candidates[i].first;
    try {
      std::vector<TimedGraph> graphs;
      graphs.emplace_back([&](cudaStream_t stream) { run(layer, candidates[i].second, stream); }, quick);
      const double us = time_in_turn(graphs, quick).front().median_us;
      if (chosen == candidates.size() || us < best) {
        best = us;
        chosen = i;
      }
    } catch (const Error& e) {
      if (e.code() == ErrorCode::device_lost) throw;  // an engine that refuses to run is only not a candidate
    }
  }
  if (chosen == candidates.size())
    throw Error(ErrorCode::unsupported, fmt::format("cuDNN has no engine for {}x{}x{}x{} -> {}", batch_, layer.conv.channels,
                                                    layer.conv.height, layer.conv.width, layer.conv.filters));
  layer.fused = candidates[chosen].first;
  layer.plans.push_back(std::move(candidates[chosen].second));
}

void UnfusedModule::run(const Layer& layer, const CudnnPlan& plan, cudaStream_t stream) const {
  cudnn_check(cudnn().set_stream(handle_.get(), stream), "cudnnSetStream");
  const void* bias = layer.fused ? layer.bias.data() : nullptr;
  const void* residual = layer.fused && layer.conv.residual ? layer.residual : nullptr;
  plan.execute(handle_.get(), layer.input, layer.weights.data(), bias, residual, layer.output.data(), workspace_.data());
  if (!layer.fused) {
    layer.epilogue->launch(stream, layer.output.data(), static_cast<const float*>(layer.bias.data()), layer.residual,
                           static_cast<int>(layer.conv.filters), layer.output.size() / 16);
  }
}

void UnfusedModule::enqueue(cudaStream_t stream) const {
  for (const Layer& layer : layers_) run(layer, layer.plans.front(), stream);
}

size_t UnfusedModule::kernels() const {
  size_t count = 0;
  for (const Layer& layer : layers_) count += layer.fused ? 1 : 2;
  return count;
}

std::string UnfusedModule::describe() const {
  std::string text;
  for (const Layer& layer : layers_) text += (text.empty() ? "" : " ") + std::string(layer.fused ? "fused" : "conv+pointwise");
  return text;
}

}  // namespace fcm::bench
