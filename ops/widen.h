// f16 and bf16 tensors to float32 and back.
#pragma once

#include "runtime/graph/tensor.h"

namespace fcm::ops {

/// A float32 copy of an f16 or bf16 tensor.
Tensor widen(const Tensor& half);
/// Rounds float32 elements to the type of `half` (f16 or bf16), to nearest even.
void narrow(const Tensor& wide, Tensor& half);

}  // namespace fcm::ops
