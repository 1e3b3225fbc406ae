// Border steps: the kernels that see callers' pointers, which are aligned to their element only.
#include <array>

#include "ops/cuda/request.h"

namespace fcm::ops::cuda {
namespace {

class KernelBorder : public Border {
 public:
  KernelBorder(std::shared_ptr<const Kernel> kernel, Dim threads, bool has_transform, std::string text)
      : kernel_(std::move(kernel)), threads_(threads), has_transform_(has_transform), text_(std::move(text)) {}

  void enqueue(cudaStream_t stream, const Args& args, bool programmatic) const override {
    Launch launch;
    const cudaKernelNodeParams params = node_params(args, launch);
    if (threads_.at(args.batch) == 0) return;
    kernel_->launch(stream, params.gridDim, params.blockDim, 0, params.kernelParams, programmatic);
  }

  cudaKernelNodeParams node_params(const Args& args, Launch& launch) const override {
    launch.values = args;
    for (size_t c = 0; c < 4; ++c) {
      launch.transform[c] = args.mean[c];
      launch.transform[4 + c] = args.std[c];
    }
    launch.pointers[0] = &launch.values.source;
    launch.pointers[1] = &launch.values.target;
    launch.pointers[2] = &launch.values.batch;
    size_t count = 3;
    if (has_transform_) launch.pointers[count++] = launch.transform;
    launch.pointers[count] = &launch.values.next_waits;
    const int64_t blocks = (threads_.at(args.batch) + kBlock - 1) / kBlock;
    if (blocks > 0x7fffffff) throw Error(ErrorCode::unsupported, text_ + ": more elements than a grid can hold; use a smaller batch");
    cudaKernelNodeParams params{};
    params.func = kernel_->function();
    params.gridDim = dim3(static_cast<unsigned>(blocks));
    params.blockDim = dim3(kBlock);
    params.kernelParams = launch.pointers;
    return params;
  }

  std::string describe() const override { return text_; }

 private:
  static constexpr unsigned kBlock = 256;
  std::shared_ptr<const Kernel> kernel_;
  Dim threads_;
  bool has_transform_;
  std::string text_;
};

}  // namespace

std::unique_ptr<Border> make_border(const DeviceTensor& input, const DeviceTensor& output, StepBuild& build) {
  Walk walk = broadcast_walk({{input, Place::none(), 0}}, {output, Place::none(), 0});
  walk.operands[0].aligned = input.layout.order == Order::nhwc;
  walk.operands[1].aligned = output.layout.order == Order::nhwc;
  walk.simplify();
  const std::string text = fmt::format("border {} {} to {}", to_string(input.shape), layout_text(input.layout), layout_text(output.layout));
  auto kernel = build.kernels.add(walk_program("border", walk, "a0"), "map");
  return std::make_unique<KernelBorder>(std::move(kernel), walk.threads(walk.vector_width()), false, text);
}

std::unique_ptr<Border> make_image_border(const DeviceTensor& output, bool channels_last, StepBuild& build) {
  const Shape strides = strides_of(output);
  const size_t channel = channels_last ? 3 : 1;
  const size_t height = channels_last ? 1 : 2;
  if (strides.size() != 4) throw Error(ErrorCode::internal, "an image border of rank " + std::to_string(strides.size()));
  const int64_t channels = output.shape[channel].factor;
  if (channels < 1 || channels > 4)
    throw Error(ErrorCode::unsupported, fmt::format("an image of {} channels; accepted are 1 to 4", channels));
  const bool nhwc = output.layout.order == Order::nhwc;
  if (nhwc && channels_last) throw Error(ErrorCode::internal, "an NHWC-shaped value in NHWC layout");
  const Dim images = output.shape[0];
  const int64_t pixels = output.shape[height].factor * output.shape[height + 1].factor;
  const std::string body = fmt::format(
      "struct P {{\n  using TO = {};\n  static constexpr int kC = {};\n  static constexpr int kWritten = {};\n  static constexpr int64 "
      "kPixels = {};\n"
      "  static constexpr int64 kChannelStride = {};\n  static constexpr int64 kPixelStride = {};\n  static constexpr int64 kImageStride = "
      "{};\n"
      "  static constexpr int64 kBatchFactor = {};\n}};\n\n"
      "extern \"C\" __global__ void __launch_bounds__(256) image(const void* x, void* y, int64 batch, ImageScale transform) {{\n"
      "  image_kernel<P>(x, y, {}, transform);\n}}\n",
      device_type(output.layout.dtype), channels, nhwc ? output.layout.channel_pitch : channels, pixels, strides[channel].factor,
      strides[height + 1].factor, strides[0].factor, images.factor, images.batch ? "batch" : "1");
  auto kernel = build.kernels.add(kernel_program("image", "image.cuh", body), "image");
  return std::make_unique<KernelBorder>(std::move(kernel), multiply(images, Dim(pixels)), true,
                                        fmt::format("image {} u8 to {}", to_string(output.shape), layout_text(output.layout)));
}

}  // namespace fcm::ops::cuda
