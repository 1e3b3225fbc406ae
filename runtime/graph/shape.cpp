#include "runtime/graph/shape.h"

#include <fmt/format.h>

#include "runtime/support/error.h"

namespace fcm {
namespace {

constexpr int64_t kMaxElements = int64_t{1} << 62;

int64_t checked_product(int64_t a, int64_t b) {
  int64_t result = 0;
  if (b < 0) throw Error(ErrorCode::bad_input, fmt::format("negative dimension {}", b));
  if (__builtin_mul_overflow(a, b, &result) || result > kMaxElements)
    throw Error(ErrorCode::bad_input, fmt::format("element count overflows: {} x {}", a, b));
  return result;
}

}  // namespace

Dim element_count(const Shape& shape) {
  Dim total(1);
  for (const Dim& dim : shape) {
    if (total.batch && dim.batch)
      throw Error(ErrorCode::unsupported, "the batch occurs in two dimensions of " + to_string(shape) + "; at most one is accepted");
    total = Dim(checked_product(total.factor, dim.factor), total.batch || dim.batch);
  }
  return total;
}

int64_t element_count(const Dims& dims) {
  int64_t total = 1;
  for (const int64_t dim : dims) total = checked_product(total, dim);
  return total;
}

Dims at_batch(const Shape& shape, int64_t batch) {
  Dims dims;
  dims.reserve(shape.size());
  for (const Dim& dim : shape) dims.push_back(dim.at(batch));
  return dims;
}

Shape to_shape(const Dims& dims) {
  return {dims.begin(), dims.end()};
}

bool has_batch(const Shape& shape) {
  for (const Dim& dim : shape) {
    if (dim.batch) return true;
  }
  return false;
}

std::string to_string(const Dim& dim) {
  if (!dim.batch) return fmt::format("{}", dim.factor);
  return dim.factor == 1 ? "B" : fmt::format("{}*B", dim.factor);
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ",") + to_string(shape[i]);
  return text + "]";
}

}  // namespace fcm
