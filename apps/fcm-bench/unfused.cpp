#include "apps/fcm-bench/unfused.h"

namespace fcm::bench {
namespace {

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

CudnnConvSpec conv_of(const StageSpec& stage, const Plane& in, DType dtype, int64_t batch) {
  CudnnConvSpec c;
  c.batch = batch;
  c.channels = padded(stage.in_channels, dtype);
  c.filters = padded(stage.out_channels, dtype);
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
  c.dtype = dtype;
  c.activation = stage.activation;
  return c;
}

}  // namespace

std::vector<CudnnConvSpec> cudnn_layers_of(const ModuleSpec& spec, int64_t batch) {
  const std::vector<Plane> planes = planes_of(spec);
  std::vector<CudnnConvSpec> layers;
  for (size_t i = 0; i < spec.stages.size(); ++i) layers.push_back(conv_of(spec.stages[i], planes[i], dtype_of(spec), batch));
  layers.back().residual = spec.residual != geometry::Residual::none;
  layers.back().residual_after_activation = spec.residual == geometry::Residual::after_activation;
  return layers;
}

UnfusedModule::UnfusedModule(CudnnLayers& layers, const ModuleSpec& spec, int64_t batch, const Operands& operands) : cudnn_(layers) {
  const DType dtype = dtype_of(spec);
  const void* input = operands.input.data();
  if (spec.input == InputTransform::nchw_f32) {
    // The conversion to NHWC is left out of the unfused form's time, in its favour.
    const int channels = padded(spec.stages.front().in_channels, dtype);
    const std::vector<float> pixel(static_cast<size_t>(channels), 0.25f);
    image_ = repeated(pixel, static_cast<size_t>(batch * spec.height * spec.width * channels), dtype);
    input = image_.data();
  }
  for (const CudnnConvSpec& conv : cudnn_layers_of(spec, batch)) {
    const StageSpec& stage = spec.stages[layers_.size()];
    const StageWeights& weights = operands.weights.stages[layers_.size()];
    std::vector<float> bias = weights.bias;
    bias.resize(static_cast<size_t>(conv.filters), 0.0f);
    Layer layer;
    layer.conv = conv;
    layer.bias = upload(bias, DType::f32);
    layer.weights = upload(to_krsc(stage, weights.weight, static_cast<int>(conv.channels), static_cast<int>(conv.filters)), dtype);
    layer.output = DeviceBuffer(static_cast<size_t>(batch * conv.out_height() * conv.out_width() * conv.filters) * dtype_size(dtype));
    const void* residual = !conv.residual ? nullptr : spec.residual_is_input ? operands.input.data() : operands.residual.data();
    layer.operands = {input, layer.weights.data(), layer.bias.data(), residual, layer.output.data()};
    layer.form = &cudnn_.fastest(conv, layer.operands);
    input = layer.output.data();
    layers_.push_back(std::move(layer));
  }
}

void UnfusedModule::enqueue(cudaStream_t stream) const {
  for (const Layer& layer : layers_) cudnn_.run(*layer.form, layer.conv, layer.operands, stream);
}

std::string UnfusedModule::describe() const {
  std::string text;
  for (const Layer& layer : layers_) text += (text.empty() ? "" : " | ") + layer.form->text();
  return text;
}

}  // namespace fcm::bench
