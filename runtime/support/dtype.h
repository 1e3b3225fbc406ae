// Element types, named after ONNX's, and 16-bit float conversion on the host.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace fcm {

enum class DType : uint8_t { f32, f16, bf16, f64, i8, u8, i16, u16, i32, u32, i64, u64, boolean };

/// Bytes of one element.
constexpr size_t dtype_size(DType t) {
  switch (t) {
    case DType::i8:
    case DType::u8:
    case DType::boolean:
      return 1;
    case DType::f16:
    case DType::bf16:
    case DType::i16:
    case DType::u16:
      return 2;
    case DType::f32:
    case DType::i32:
    case DType::u32:
      return 4;
    case DType::f64:
    case DType::i64:
    case DType::u64:
      return 8;
  }
  return 0;
}

constexpr bool is_float(DType t) {
  return t == DType::f32 || t == DType::f16 || t == DType::bf16 || t == DType::f64;
}

/// "f32", "f16", ... (the spelling of plans, specs and logs).
std::string_view dtype_name(DType t);

/// IEEE binary16 <-> binary32, round to nearest even; NaN stays NaN, overflow becomes infinity.
uint16_t f32_to_f16(float x);
float f16_to_f32(uint16_t x);
/// bfloat16 <-> binary32, round to nearest even.
uint16_t f32_to_bf16(float x);
float bf16_to_f32(uint16_t x);

}  // namespace fcm
