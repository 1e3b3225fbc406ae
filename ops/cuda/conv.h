// What every kind of convolution step is built from.
#pragma once

#include "ops/cuda/request.h"

namespace fcm::ops::cuda {

/// A bound Conv over two spatial axes with constant weights, in numbers. Input and output are NHWC.
struct ConvShape {
  int64_t batch_factor = 1;  ///< axis 0 is this times the batch, or (batch false) this
  bool batch = true;
  int64_t channels = 0, height = 0, width = 0;
  int64_t filters = 0, out_height = 0, out_width = 0;
  int64_t kernel[2] = {1, 1}, stride[2] = {1, 1}, dilation[2] = {1, 1}, pad_begin[2] = {0, 0}, pad_end[2] = {0, 0};
  int64_t group = 1;
  int64_t pitch_in = 0, pitch_out = 0;

  int64_t group_in() const { return channels / group; }
  int64_t group_out() const { return filters / group; }
  bool is_depthwise() const { return group == channels && group == filters; }
  Dim images() const { return {batch_factor, batch}; }
};

ConvShape conv_shape(const Request& r, const Conv& op);

/// Expression of the epilogue: `x` the sum with bias, `residual` a device expression or empty.
std::string epilogue_text(const Conv& op, const std::string& x, const std::string& residual);

/// Weights [F][KH][KW][C/group], rows of `in_pitch` and `out_rows` filters, zero-filled, in `dtype`.
Place pack_krsc(const Request& r, const ConvShape& s, int64_t in_pitch, int64_t out_rows, DType dtype);
/// The bias, zero-filled to `length`, in `dtype`; none when the node has no bias.
Place pack_bias(const Request& r, int64_t length, DType dtype);

/// Own NHWC kernels: depthwise, and direct for few channels and small groups.
std::unique_ptr<Step> make_depthwise(const Request& r, const Conv& op, const ConvShape& s);
std::unique_ptr<Step> make_direct(const Request& r, const Conv& op, const ConvShape& s);
/// Row-major convolution of any rank, weights perhaps computed at run time.
std::unique_ptr<Step> make_conv_rows(const Request& r, const Conv& op);
/// 1x1 as a cuBLASLt product.
std::unique_ptr<Step> make_pointwise(const Request& r, const Conv& op, const ConvShape& s);
/// cuDNN.
std::unique_ptr<Step> make_cudnn_conv(const Request& r, const Conv& op, const ConvShape& s);

}  // namespace fcm::ops::cuda
