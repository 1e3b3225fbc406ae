// A step that is a list of launches of own kernels. All own kernels have the same form of arguments: pointers, then the batch; the
// number of threads is a multiple of 1 or of the batch.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ops/cuda/affine.h"
#include "ops/cuda/step.h"

namespace fcm::ops::cuda {

/// Where a kernel's pointer argument comes from.
struct Place {
  enum class Kind : uint8_t { none, input, output, weight, workspace };
  Kind kind = Kind::none;
  size_t index = 0;  ///< input or output position; byte offset of a weight or of workspace

  static Place none() { return {}; }
  static Place input(size_t position) { return {Kind::input, position}; }
  static Place output(size_t position) { return {Kind::output, position}; }
  static Place weight(size_t offset) { return {Kind::weight, offset}; }
  static Place workspace(size_t offset) { return {Kind::workspace, offset}; }
  /// The address at run time; null for `none`.
  void* resolve(const StepArgs& args) const;
};

struct Launch {
  std::shared_ptr<const Kernel> kernel;
  std::vector<Place> places;  ///< by pointer argument
  Dim threads;
  unsigned block = 256;

  void enqueue(const StepArgs& args) const;
};

/// One after another; `args` say what is ahead of the first and behind the last.
void enqueue_in_turn(const std::vector<Launch>& launches, const StepArgs& args);

class KernelSequence : public Step {
 public:
  KernelSequence(std::vector<Launch> launches, std::string text, Dim workspace = Dim(0))
      : launches_(std::move(launches)), text_(std::move(text)), workspace_(workspace) {}

  size_t workspace_bytes(int64_t max_batch, LibraryHandles& handles) const override;
  void enqueue(const StepArgs& args) const override;
  bool own() const override { return true; }
  std::string describe() const override { return text_; }

 private:
  std::vector<Launch> launches_;
  std::string text_;
  Dim workspace_;  // bytes
};

/// A program over the embedded kernels: `body`, which holds one kernel, follows `#include "HEADER"`. The kernel gets the protocol of
/// programmatic launch as its first statement, so that it may be launched before the kernel ahead of it has ended.
jit::Program kernel_program(const std::string& name, const std::string& header, const std::string& body);

/// A tensor in device memory and where it is. The layout of a constant is rows, or a padded vector.
struct Source {
  DeviceTensor tensor;
  Place place;
  int64_t lanes = 0;  ///< as Operand::lanes
};

/// Uploads a constant as it is, f64 as f32.
Source constant_source(const Tensor& tensor, WeightStore& weights);
/// A vector of float weights, zero-filled up to `length`.
Place float_weights(const std::vector<float>& values, size_t length, WeightStore& weights);
/// A constant's elements as float (any float dtype).
std::vector<float> float_values(const Tensor& constant);
/// Floats converted to f32, f16 or bf16 bytes.
std::vector<std::byte> to_bytes(const std::vector<float>& values, DType dtype);

/// One launch of y = expression(a0, a1, ...). Broadcasts `inputs` to the shape of `output`; writes zeros to pad lanes.
Launch map_launch(const std::string& name, const std::vector<Source>& inputs, const Source& output, const std::string& expression_text,
                  StepBuild& build);
/// The same for a walk given by hand; `places` by operand.
Launch walk_launch(const std::string& name, Walk walk, std::vector<Place> places, const std::string& expression_text, StepBuild& build);
/// The program of `walk_launch` alone; the kernel is "map".
jit::Program walk_program(const std::string& name, const Walk& walk, const std::string& expression_text);
/// A walk over the elements of `output` in memory order, pad lanes included. `operands` have their strides by ONNX axis of the output; the
/// output is appended to them.
Walk output_walk(std::vector<Operand> operands, const Source& output);
/// The same for inputs that broadcast to the output.
Walk broadcast_walk(const std::vector<Source>& inputs, const Source& output);

/// "fn::clip(X, 0, 6)" for a unary function of the device expression `x`.
std::string unary_text(const Unary& u, const std::string& x);
/// The name of a binary function in math.cuh.
std::string binary_name(BinaryFn fn);

}  // namespace fcm::ops::cuda
