// cuDNN's functions that the library uses, bound at first use.
#pragma once

#include <cudnn.h>

#include <string>

namespace fcm {

struct Cudnn {
  decltype(&::cudnnGetVersion) get_version = nullptr;
  decltype(&::cudnnGetErrorString) get_error_string = nullptr;
  decltype(&::cudnnCreate) create = nullptr;
  decltype(&::cudnnDestroy) destroy = nullptr;
  decltype(&::cudnnSetStream) set_stream = nullptr;
  decltype(&::cudnnCreateTensorDescriptor) create_tensor_descriptor = nullptr;
  decltype(&::cudnnDestroyTensorDescriptor) destroy_tensor_descriptor = nullptr;
  decltype(&::cudnnSetTensor4dDescriptorEx) set_tensor_4d_descriptor_ex = nullptr;
  decltype(&::cudnnCreateFilterDescriptor) create_filter_descriptor = nullptr;
  decltype(&::cudnnDestroyFilterDescriptor) destroy_filter_descriptor = nullptr;
  decltype(&::cudnnSetFilter4dDescriptor) set_filter_4d_descriptor = nullptr;
  decltype(&::cudnnCreateConvolutionDescriptor) create_convolution_descriptor = nullptr;
  decltype(&::cudnnDestroyConvolutionDescriptor) destroy_convolution_descriptor = nullptr;
  decltype(&::cudnnSetConvolution2dDescriptor) set_convolution_2d_descriptor = nullptr;
  decltype(&::cudnnSetConvolutionGroupCount) set_convolution_group_count = nullptr;
  decltype(&::cudnnSetConvolutionMathType) set_convolution_math_type = nullptr;
  decltype(&::cudnnCreateActivationDescriptor) create_activation_descriptor = nullptr;
  decltype(&::cudnnDestroyActivationDescriptor) destroy_activation_descriptor = nullptr;
  decltype(&::cudnnSetActivationDescriptor) set_activation_descriptor = nullptr;
  decltype(&::cudnnGetConvolutionForwardAlgorithm_v7) get_convolution_forward_algorithm = nullptr;
  decltype(&::cudnnGetConvolutionForwardWorkspaceSize) get_convolution_forward_workspace_size = nullptr;
  decltype(&::cudnnConvolutionForward) convolution_forward = nullptr;
  decltype(&::cudnnConvolutionBiasActivationForward) convolution_bias_activation_forward = nullptr;
  // The graph ("backend") interface.
  decltype(&::cudnnBackendCreateDescriptor) backend_create = nullptr;
  decltype(&::cudnnBackendDestroyDescriptor) backend_destroy = nullptr;
  decltype(&::cudnnBackendSetAttribute) backend_set = nullptr;
  decltype(&::cudnnBackendGetAttribute) backend_get = nullptr;
  decltype(&::cudnnBackendFinalize) backend_finalize = nullptr;
  decltype(&::cudnnBackendExecute) backend_execute = nullptr;

  std::string version_text;  ///< "9.19.0"
};

/// Opens cuDNN 9 at the first call (thread-safe). Throws Error(device); a later call tries again.
const Cudnn& cudnn();
/// Throws Error(device) naming `what` for anything but success.
void cudnn_check(cudnnStatus_t status, const char* what);

}  // namespace fcm
