// Dimensions that may scale with the batch. After shape inference every dimension of every value is a constant `c` or `c*B`,
// where B is the model's one symbolic batch; the factor may stand at any axis.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace fcm {

struct Dim {
  int64_t factor = 0;  ///< c
  bool batch = false;  ///< true: the dimension is c * B

  constexpr Dim() = default;
  constexpr Dim(int64_t c) : factor(c) {}  // NOLINT(google-explicit-constructor): a plain number is a dimension
  constexpr Dim(int64_t c, bool times_batch) : factor(c), batch(times_batch) {}

  constexpr int64_t at(int64_t batch_size) const { return batch ? factor * batch_size : factor; }
  friend constexpr bool operator==(const Dim&, const Dim&) = default;
};

using Shape = std::vector<Dim>;
using Dims = std::vector<int64_t>;  ///< a shape at a given batch

/// The product of all dimensions; throws Error(unsupported) when the batch would occur twice.
Dim element_count(const Shape& shape);
/// The product of concrete dimensions; throws Error(bad_input) on overflow of 2^62 or a negative dimension.
int64_t element_count(const Dims& dims);
/// The shape with B = `batch`.
Dims at_batch(const Shape& shape, int64_t batch);
Shape to_shape(const Dims& dims);
bool has_batch(const Shape& shape);

/// "4*B", "B", "32".
std::string to_string(const Dim& dim);
/// "[B,3,224,224]".
std::string to_string(const Shape& shape);

}  // namespace fcm
