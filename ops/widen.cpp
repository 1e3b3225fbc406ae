#include "ops/widen.h"

#include "ops/parallel.h"

namespace fcm::ops {
namespace {

constexpr int64_t kBlock = 4096;  // elements of one parallel item

template <class Convert>
void for_blocks(int64_t count, Convert&& convert) {
  parallel_for((count + kBlock - 1) / kBlock, kBlock, [&](int64_t block) {
    const int64_t end = count < (block + 1) * kBlock ? count : (block + 1) * kBlock;
    for (int64_t i = block * kBlock; i < end; ++i) convert(static_cast<size_t>(i));
  });
}

}  // namespace

Tensor widen(const Tensor& half) {
  Tensor wide(DType::f32, half.dims());
  const auto x = half.data<uint16_t>();
  const auto y = wide.data<float>();
  if (half.dtype() == DType::f16) {
    for_blocks(half.count(), [&](size_t i) { y[i] = f16_to_f32(x[i]); });
  } else {
    for_blocks(half.count(), [&](size_t i) { y[i] = bf16_to_f32(x[i]); });
  }
  return wide;
}

void narrow(const Tensor& wide, Tensor& half) {
  const auto x = wide.data<float>();
  const auto y = half.data<uint16_t>();
  if (half.dtype() == DType::f16) {
    for_blocks(half.count(), [&](size_t i) { y[i] = f32_to_f16(x[i]); });
  } else {
    for_blocks(half.count(), [&](size_t i) { y[i] = f32_to_bf16(x[i]); });
  }
}

}  // namespace fcm::ops
