#include "runtime/device/cudnn_graph.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "runtime/device/cudnn.h"
#include "runtime/support/error.h"

namespace fcm {

CudnnDescriptor::CudnnDescriptor(cudnnBackendDescriptorType_t type) {
  cudnn_check(cudnn().backend_create(type, &descriptor_), "cudnnBackendCreateDescriptor");
}

CudnnDescriptor::~CudnnDescriptor() {
  if (descriptor_ != nullptr) cudnn().backend_destroy(descriptor_);
}

CudnnDescriptor::CudnnDescriptor(CudnnDescriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, nullptr)) {}

CudnnDescriptor& CudnnDescriptor::operator=(CudnnDescriptor&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

void CudnnDescriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count, const void* values) {
  const cudnnStatus_t status = cudnn().backend_set(descriptor_, name, type, count, values);
  if (status != CUDNN_STATUS_SUCCESS) cudnn_check(status, fmt::format("setting attribute {}", static_cast<int>(name)).c_str());
}

void CudnnDescriptor::finalize() {
  cudnn_check(cudnn().backend_finalize(descriptor_), "cudnnBackendFinalize");
}

bool CudnnDescriptor::try_finalize() {
  return cudnn().backend_finalize(descriptor_) == CUDNN_STATUS_SUCCESS;
}

namespace {

// Tensor ids in the operation graph.
enum : int64_t { kX = 1, kW, kBias, kResidual, kY, kFirstVirtual };

cudnnDataType_t data_type(DType dtype) {
  switch (dtype) {
    case DType::f16:
      return CUDNN_DATA_HALF;
    case DType::bf16:
      return CUDNN_DATA_BFLOAT16;
    case DType::f32:
      return CUDNN_DATA_FLOAT;
    default:
      throw Error(ErrorCode::unsupported,
                  fmt::format("cuDNN convolution of {} is not supported; f32, f16 and bf16 are", dtype_name(dtype)));
  }
}

using Extent = std::array<int64_t, 4>;

// Dense NHWC strides of NCHW extents.
Extent channels_last(const Extent& e) {
  return {e[1] * e[2] * e[3], 1, e[1] * e[3], e[1]};
}

CudnnDescriptor make_tensor(int64_t id, const Extent& extent, cudnnDataType_t type, bool is_virtual) {
  CudnnDescriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  const Extent strides = channels_last(extent);
  const int64_t alignment = 16;
  tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
  tensor.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  tensor.set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, extent.data());
  tensor.set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides.data());
  tensor.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
  tensor.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual);
  tensor.finalize();
  return tensor;
}

// Sets up `d` as the pointwise mode of an activation; false where cuDNN has none.
bool configure_activation(const Unary& u, cudnnPointwiseMode_t* mode, double* upper) {
  *upper = 0;
  switch (u.fn) {
    case UnaryFn::relu:
      *mode = CUDNN_POINTWISE_RELU_FWD;
      return true;
    case UnaryFn::clip:
      *mode = CUDNN_POINTWISE_RELU_FWD;
      *upper = u.b;
      return u.a == 0.0f && u.b > 0.0f;
    case UnaryFn::sigmoid:
      *mode = CUDNN_POINTWISE_SIGMOID_FWD;
      return true;
    case UnaryFn::silu:
      *mode = CUDNN_POINTWISE_SWISH_FWD;
      return true;
    case UnaryFn::gelu:
      *mode = CUDNN_POINTWISE_GELU_FWD;
      return true;
    case UnaryFn::gelu_tanh:
      *mode = CUDNN_POINTWISE_GELU_APPROX_TANH_FWD;
      return true;
    case UnaryFn::tanh:
      *mode = CUDNN_POINTWISE_TANH_FWD;
      return true;
    default:
      return false;
  }
}

// Builds the operations from X to Y, each result a virtual FP32 tensor but the last.
class GraphBuilder {
 public:
  explicit GraphBuilder(const CudnnConvSpec& spec)
      : spec_(spec), type_(data_type(spec.dtype)), out_{spec.batch, spec.filters, spec.out_height(), spec.out_width()} {
    remaining_ = 1;
    if (spec.fuse) remaining_ += 1 + (spec.activation.is_identity() ? 0 : 1) + (spec.residual ? 1 : 0);
  }

  CudnnDescriptor build(cudnnHandle_t handle) {
    convolve();
    if (spec_.fuse) {
      add(kBias, {1, spec_.filters, 1, 1}, CUDNN_DATA_FLOAT);
      const bool late = spec_.residual_after_activation;
      if (spec_.residual && !late) add(kResidual, out_, type_);
      if (!spec_.activation.is_identity()) activate();
      if (spec_.residual && late) add(kResidual, out_, type_);
    }
    CudnnDescriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    std::vector<cudnnBackendDescriptor_t> raw;
    for (const CudnnDescriptor& op : operations_) raw.push_back(op.get());
    graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<int64_t>(raw.size()), raw.data());
    graph.finalize();
    return graph;
  }

 private:
  cudnnBackendDescriptor_t keep(CudnnDescriptor d) {
    tensors_.push_back(std::move(d));
    return tensors_.back().get();
  }

  cudnnBackendDescriptor_t next_result() {
    const bool last = --remaining_ == 0;
    return keep(last ? make_tensor(kY, out_, type_, false) : make_tensor(next_virtual_++, out_, CUDNN_DATA_FLOAT, true));
  }

  void convolve() {
    CudnnDescriptor conv(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const int64_t axes = 2;
    conv.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    conv.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    conv.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &axes);
    conv.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, spec_.dilation);
    conv.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, spec_.stride);
    conv.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, spec_.pad_begin);
    conv.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, spec_.pad_end);
    conv.finalize();

    const auto x = keep(make_tensor(kX, {spec_.batch, spec_.channels, spec_.height, spec_.width}, type_, false));
    const auto w = keep(make_tensor(kW, {spec_.filters, spec_.channels / spec_.groups, spec_.kernel[0], spec_.kernel[1]}, type_, false));
    current_ = next_result();
    const auto descriptor = keep(std::move(conv));
    const float alpha = 1.0f;
    const float beta = 0.0f;
    CudnnDescriptor op(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
    op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &descriptor);
    op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &x);
    op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &w);
    op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &current_);
    op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &alpha);
    op.set(CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &beta);
    op.finalize();
    operations_.push_back(std::move(op));
  }

  // current = mode(current [, second])
  void pointwise(cudnnPointwiseMode_t mode, double upper, cudnnBackendDescriptor_t second) {
    CudnnDescriptor kind(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
    const cudnnDataType_t math = CUDNN_DATA_FLOAT;
    kind.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    kind.set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &math);
    if (upper > 0) kind.set(CUDNN_ATTR_POINTWISE_RELU_UPPER_CLIP, CUDNN_TYPE_DOUBLE, 1, &upper);
    kind.finalize();
    const auto descriptor = keep(std::move(kind));
    const auto input = current_;
    current_ = next_result();
    CudnnDescriptor op(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    op.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &descriptor);
    op.set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &input);
    if (second != nullptr) op.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &second);
    op.set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &current_);
    op.finalize();
    operations_.push_back(std::move(op));
  }

  void add(int64_t id, const Extent& extent, cudnnDataType_t type) {
    pointwise(CUDNN_POINTWISE_ADD, 0, keep(make_tensor(id, extent, type, false)));
  }

  void activate() {
    cudnnPointwiseMode_t mode = CUDNN_POINTWISE_IDENTITY;
    double upper = 0;
    if (!configure_activation(spec_.activation, &mode, &upper))
      throw Error(ErrorCode::unsupported, "cuDNN has no pointwise mode for " + to_string(spec_.activation));
    pointwise(mode, upper, nullptr);
  }

  const CudnnConvSpec& spec_;
  cudnnDataType_t type_;
  Extent out_;
  int remaining_ = 0;
  int64_t next_virtual_ = kFirstVirtual;
  cudnnBackendDescriptor_t current_ = nullptr;
  std::vector<CudnnDescriptor> tensors_;
  std::vector<CudnnDescriptor> operations_;
};

constexpr size_t kProposals = 64;  // asked of a heuristic: listing costs nothing, and some are left out below

// Engine configurations that one heuristic proposes, best first.
std::vector<CudnnDescriptor> engine_configs(const CudnnDescriptor& graph, cudnnBackendHeurMode_t mode, size_t limit) {
  std::vector<CudnnDescriptor> configs;
  CudnnDescriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  const cudnnBackendDescriptor_t raw_graph = graph.get();
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &raw_graph);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  if (!heuristics.try_finalize()) return configs;
  for (size_t i = 0; i < limit; ++i) configs.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  std::vector<cudnnBackendDescriptor_t> raw;
  for (const CudnnDescriptor& config : configs) raw.push_back(config.get());
  int64_t found = 0;
  const cudnnStatus_t status = cudnn().backend_get(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                                   static_cast<int64_t>(limit), &found, raw.data());
  if (status != CUDNN_STATUS_SUCCESS) found = 0;
  configs.erase(configs.begin() + found, configs.end());
  return configs;
}

bool has_note(const CudnnDescriptor& config, cudnnBackendNumericalNote_t note) {
  CudnnDescriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t raw = engine.get();
  int64_t count = 0;
  if (cudnn().backend_get(config.get(), CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count, &raw) !=
      CUDNN_STATUS_SUCCESS)
    return false;
  std::array<cudnnBackendNumericalNote_t, CUDNN_NUMERICAL_NOTE_TYPE_COUNT> notes{};
  if (cudnn().backend_get(engine.get(), CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT,
                          &count, notes.data()) != CUDNN_STATUS_SUCCESS)
    return false;
  for (int64_t i = 0; i < count; ++i) {
    if (notes[static_cast<size_t>(i)] == note) return true;
  }
  return false;
}

}  // namespace

bool cudnn_graph_supports(const Unary& activation) {
  cudnnPointwiseMode_t mode{};
  double upper = 0;
  return activation.is_identity() || configure_activation(activation, &mode, &upper);
}

std::string to_string(const CudnnConvSpec& s) {
  std::string text = fmt::format("{} n{} {}x{}x{} -> {} k{}x{} s{}x{} p{}.{}.{}.{} d{}x{} g{}", dtype_name(s.dtype), s.batch, s.channels,
                                 s.height, s.width, s.filters, s.kernel[0], s.kernel[1], s.stride[0], s.stride[1], s.pad_begin[0],
                                 s.pad_begin[1], s.pad_end[0], s.pad_end[1], s.dilation[0], s.dilation[1], s.groups);
  if (!s.fuse) return text + " alone";
  text += " " + to_string(s.activation);
  if (s.residual) text += s.residual_after_activation ? " residual=after" : " residual=before";
  return text;
}

std::vector<CudnnPlan> cudnn_plans(cudnnHandle_t handle, const CudnnConvSpec& spec, bool tf32, size_t limit, const std::string& engine) {
  std::vector<CudnnPlan> plans;
  GraphBuilder builder(spec);
  const CudnnDescriptor graph = builder.build(handle);
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    size_t place = 0;
    for (const CudnnDescriptor& config : engine_configs(graph, mode, kProposals)) {
      if (plans.size() == limit) return plans;
      std::string name = fmt::format("{}{}", mode == CUDNN_HEUR_MODE_A ? 'a' : 'f', place++);
      if (!engine.empty() && name != engine) continue;
      // FP32 on tensor cores is TF32: only when asked for.
      if (spec.dtype == DType::f32 && !tf32 && has_note(config, CUDNN_NUMERICAL_NOTE_TENSOR_CORE)) continue;
      if (has_note(config, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)) continue;
      CudnnDescriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      const cudnnBackendDescriptor_t raw = config.get();
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &raw);
      if (!plan.try_finalize()) continue;
      int64_t workspace = 0;
      int64_t count = 0;
      cudnn_check(cudnn().backend_get(plan.get(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &count, &workspace),
                  "reading a plan's workspace size");
      plans.emplace_back(std::move(plan), static_cast<size_t>(workspace), std::move(name));
    }
    if (!plans.empty()) break;  // the fallback engines are slower; they matter only where mode A has none
  }
  return plans;
}

void CudnnPlan::execute(cudnnHandle_t handle, const void* x, const void* w, const void* bias, const void* residual, void* y,
                        void* workspace) const {
  CudnnDescriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  const std::array<const void*, 5> pointers = {x, w, bias, residual, y};
  const std::array<int64_t, 5> ids = {kX, kW, kBias, kResidual, kY};
  std::vector<const void*> given;
  std::vector<int64_t> given_ids;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (pointers[i] == nullptr) continue;
    given.push_back(pointers[i]);
    given_ids.push_back(ids[i]);
  }
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, static_cast<int64_t>(given.size()), given.data());
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, static_cast<int64_t>(given_ids.size()), given_ids.data());
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
  pack.finalize();
  cudnn_check(cudnn().backend_execute(handle, plan_.get(), pack.get()), "cudnnBackendExecute");
}

}  // namespace fcm
