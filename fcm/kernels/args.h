// Arguments of every module kernel; host and device see the same struct. Device pointers, 16-byte aligned.
#pragma once

namespace fcm {

struct ModuleArgs {
  const void* input = nullptr;     ///< [N][H][W][pitch], or NCHW float / NHWC bytes for a first convolution, or pool sums
  const void* residual = nullptr;  ///< shaped like the output
  const void* gate = nullptr;      ///< [N][input pitch] in the module's element type
  const void* weights = nullptr;   ///< packed by fcm::pack_weights for the same spec and tile
  void* output = nullptr;          ///< [N][H][W][pitch]
  float* pool = nullptr;           ///< [N][tiles][round_up(channels, 4)] sums over a tile's pixels
  int batch = 1;
  float scale[4] = {1, 1, 1, 1};  ///< of the user's tensor, a channel: x * scale + shift before a first convolution
  float shift[4] = {0, 0, 0, 0};
  /// The kernel behind this one in its stream waits for it by itself and may start beside it. Not so a library's: cuDNN and cuBLASLt launch
  /// some kernels programmatically that count on the end of what is ahead.
  bool next_waits = true;
  unsigned jitter = 0;  ///< seed of the random spins (kernels emitted with jitter only)
};

}  // namespace fcm
