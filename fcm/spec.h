// What a fused module computes (ModuleSpec) and how its kernel is cut into tiles (TileConfig): plain data with one canonical text form,
// which is test name, cache key and log line. Scales, weights and biases are not part of a spec: equal layers share a kernel.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fcm/geometry.h"
#include "runtime/support/dtype.h"
#include "runtime/support/unary.h"

namespace fcm {

enum class StageOp : uint8_t {
  pw,    ///< pointwise (1x1) convolution, stride 1, or a fully connected layer on a 1x1 plane
  dw,    ///< depthwise convolution with a channel multiplier
  conv,  ///< dense KxK convolution of few channels; only as the first stage
  pool,  ///< global mean over the plane; only as the first stage
};

/// One convolution with bias and activation. Pads are those of ONNX: begin and end of each axis, none negative.
struct StageSpec {
  StageOp op = StageOp::pw;
  int kernel_h = 1, kernel_w = 1;
  int stride_h = 1, stride_w = 1;
  int pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  int dilation_h = 1, dilation_w = 1;
  int multiplier = 1;  ///< dw: output channels an input channel
  int in_channels = 1;
  int out_channels = 1;
  DType dtype = DType::f32;  ///< of the edge that leaves this stage, after the activation; weights have that of the first stage
  Unary activation;

  friend bool operator==(const StageSpec&, const StageSpec&) = default;
};

/// What the first stage reads.
enum class InputTransform : uint8_t {
  nhwc,      ///< an activation in the module's dtype, channels padded to 16-byte vectors
  nchw_f32,  ///< the user's tensor; scale and shift a channel are applied (conv first)
  nhwc_u8,   ///< the user's bytes; scale and shift a channel are applied (conv first)
  sums,      ///< float sums over tiles, [N][sum_tiles][round_up(C, 4)], as the pool epilogue writes them (pool first)
};

struct ModuleSpec {
  InputTransform input = InputTransform::nhwc;
  int height = 1, width = 1;  ///< plane of the module's input
  int sum_tiles = 1;          ///< InputTransform::sums: tiles an image
  std::vector<StageSpec> stages;
  bool tf32 = false;                                       ///< FP32 modules may use TF32 tensor cores for dense stages
  geometry::Residual residual = geometry::Residual::none;  ///< added at the end, before or after the last activation
  bool residual_is_input = false;                          ///< the residual operand is the module's input
  geometry::Pool pool = geometry::Pool::none;              ///< sums over each tile's output pixels
  bool gate = false;                                       ///< the input is multiplied by a vector an image and channel (SE)
  geometry::Norm norm = geometry::Norm::none;              ///< of each input pixel's channels, before the first (pointwise) stage
  float norm_epsilon = 0;

  friend bool operator==(const ModuleSpec&, const ModuleSpec&) = default;
};

/// The pattern a spec is an instance of.
enum class ModuleKind : uint8_t { pw, dw, conv, dwpw, pwdw, pwpw, pwdwpw, conv_dw, conv_pw, conv_dwpw, pool_fc, se, unknown };
ModuleKind kind_of(const ModuleSpec& spec);
/// "PW", "DW", "CONV", "DWPW", "PWDW", "PWPW", "PWDWPW", "CONVDW", "CONVPW", "CONVDWPW", "POOLFC", "SE".
std::string_view kind_name(ModuleKind kind);

/// How a kernel is cut up; the fields' meaning is that of geometry::Shape. For pool_fc and se: `tile_w` images at a time,
/// `n_tile` outputs a block (pool_fc) or `split` blocks that share them (se), `warps_m` warps.
struct TileConfig {
  int tile_h = 1, tile_w = 64;
  int images = 1;
  int chunk = 16;
  int n_tile = 16;
  int split = 1;
  int warps_m = 1, warps_k = 1, warps_n = 1;
  int stages = 1;
  int expand_m = 1, expand_n = 1;
  bool resident = false;
  int min_blocks = 1;
  bool warpgroup = false;  ///< by wgmma: the expansion, whose unit is 64 expand_m rows; a DWPW's projection; or a streamed pointwise layer
  bool project_groups = false;  ///< by wgmma only the projection of a module that warps expand
  bool streamed = false;        ///< its operands pass through shared memory in slices of the depth, `stages` of them at a time

  bool overlaid = false;  ///< the chunk buffer takes the place of the slices: more of them, none under way beside the depthwise stage
  int team = 0;           ///< further warpgroups that do nothing but expand, streamed, beside the warps that filter the chunk before
  /// A block alone on a multiprocessor: the launch asks for more than half of its shared memory. For grids that do not fill the card:
  /// blocks that start while the kernel ahead runs would else settle two by two on what that leaves idle.
  bool lone = false;

  friend bool operator==(const TileConfig&, const TileConfig&) = default;
};

/// Extent of a stage's output along an axis.
int output_extent(int in, int kernel, int stride, int dilation, int before, int after);
struct Plane {
  int height = 1, width = 1;
  friend bool operator==(const Plane&, const Plane&) = default;
};
/// Planes from the input's to the output's, one more than there are stages.
std::vector<Plane> planes_of(const ModuleSpec& spec);
/// Plane and channels of the module's output.
Plane output_plane(const ModuleSpec& spec);
int output_channels(const ModuleSpec& spec);
/// The dtype that the module computes in: that of the first stage.
DType dtype_of(const ModuleSpec& spec);
/// The dtype of the output: that of the last stage. It is dtype_of, but for a pool_fc module, which may keep its FP32 sums.
DType output_dtype(const ModuleSpec& spec);
/// Elements from one output pixel to the next: channels padded to 16-byte vectors, or as they are where FP32 sums of a 16-bit module leave.
int output_pitch(const ModuleSpec& spec);

/// "nhwc 14x14 pw/64-384/f16/clip(0,6) dw3x3s1x1p1.1.1.1/384-384/f16/clip(0,6) pw/384-64/f16/identity residual=after from=input".
std::string to_string(const ModuleSpec& spec);
/// "t4x7_c48_n64_x8_w2.3.1_s1_e1.3_r1_b1"; flags follow: "_wg", "_st" (streamed), "_so" (streamed, overlaid), "_team2", "_i4" (images),
/// "_lone".
std::string to_string(const TileConfig& tile);
/// The inverses. Throw Error(bad_input) naming the piece that is wrong; numbers are bounded (dimensions to 2^20).
ModuleSpec parse_spec(std::string_view text);
TileConfig parse_tile(std::string_view text);

}  // namespace fcm
