// Unary functions over contiguous rows, in float32 and double: the epilogue of convolutions and products, and UnaryOp itself.
#pragma once

#include <cstdint>

#include "runtime/support/unary.h"

namespace fcm::ops {

/// y[i] = u(y[i]). Float32 gives the bits of fcm::apply.
void activate(const Unary& u, float* y, int64_t count);
void activate(const Unary& u, double* y, int64_t count);

/// y = activation(y + bias + residual), or activation(y + bias) + residual.
struct Epilogue {
  Unary activation;
  bool residual_after_activation = false;

  /// `residual` may be null.
  template <class T>
  void apply(T* y, int64_t count, T bias, const T* residual) const {
    for (int64_t i = 0; i < count; ++i) y[i] += bias;
    const auto add_residual = [&] {
      for (int64_t i = 0; i < count; ++i) y[i] += residual[i];
    };
    if (residual != nullptr && !residual_after_activation) add_residual();
    activate(activation, y, count);
    if (residual != nullptr && residual_after_activation) add_residual();
  }
};

}  // namespace fcm::ops
