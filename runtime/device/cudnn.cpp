#include "runtime/device/cudnn.h"

#include <fmt/format.h>

#include "runtime/device/dynlib.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

Cudnn open_cudnn() {
  const DynamicLibrary library("cuDNN 9", {"libcudnn.so.9"});
  Cudnn f;
  library.bind(f.get_version, "cudnnGetVersion");
  library.bind(f.get_error_string, "cudnnGetErrorString");
  library.bind(f.create, "cudnnCreate");
  library.bind(f.destroy, "cudnnDestroy");
  library.bind(f.set_stream, "cudnnSetStream");
  library.bind(f.create_tensor_descriptor, "cudnnCreateTensorDescriptor");
  library.bind(f.destroy_tensor_descriptor, "cudnnDestroyTensorDescriptor");
  library.bind(f.set_tensor_4d_descriptor_ex, "cudnnSetTensor4dDescriptorEx");
  library.bind(f.create_filter_descriptor, "cudnnCreateFilterDescriptor");
  library.bind(f.destroy_filter_descriptor, "cudnnDestroyFilterDescriptor");
  library.bind(f.set_filter_4d_descriptor, "cudnnSetFilter4dDescriptor");
  library.bind(f.create_convolution_descriptor, "cudnnCreateConvolutionDescriptor");
  library.bind(f.destroy_convolution_descriptor, "cudnnDestroyConvolutionDescriptor");
  library.bind(f.set_convolution_2d_descriptor, "cudnnSetConvolution2dDescriptor");
  library.bind(f.set_convolution_group_count, "cudnnSetConvolutionGroupCount");
  library.bind(f.set_convolution_math_type, "cudnnSetConvolutionMathType");
  library.bind(f.create_activation_descriptor, "cudnnCreateActivationDescriptor");
  library.bind(f.destroy_activation_descriptor, "cudnnDestroyActivationDescriptor");
  library.bind(f.set_activation_descriptor, "cudnnSetActivationDescriptor");
  library.bind(f.get_convolution_forward_algorithm, "cudnnGetConvolutionForwardAlgorithm_v7");
  library.bind(f.get_convolution_forward_workspace_size, "cudnnGetConvolutionForwardWorkspaceSize");
  library.bind(f.convolution_forward, "cudnnConvolutionForward");
  library.bind(f.convolution_bias_activation_forward, "cudnnConvolutionBiasActivationForward");
  library.bind(f.backend_create, "cudnnBackendCreateDescriptor");
  library.bind(f.backend_destroy, "cudnnBackendDestroyDescriptor");
  library.bind(f.backend_set, "cudnnBackendSetAttribute");
  library.bind(f.backend_get, "cudnnBackendGetAttribute");
  library.bind(f.backend_finalize, "cudnnBackendFinalize");
  library.bind(f.backend_execute, "cudnnBackendExecute");
  const size_t version = f.get_version();
  f.version_text = fmt::format("{}.{}.{}", version / 10000, version % 10000 / 100, version % 100);
  return f;
}

}  // namespace

const Cudnn& cudnn() {
  static const Cudnn functions = open_cudnn();
  return functions;
}

void cudnn_check(cudnnStatus_t status, const char* what) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  const bool memory = status == CUDNN_STATUS_ALLOC_FAILED;
  throw Error(memory ? ErrorCode::out_of_memory : ErrorCode::device,
              fmt::format("cuDNN {}: {}: {}", cudnn().version_text, what, cudnn().get_error_string(status)));
}

}  // namespace fcm
