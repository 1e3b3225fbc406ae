// Comparing outputs with expected ones.
#include "apps/fcm-infer/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "apps/common/program.h"

namespace fcm::apps {

Tolerance default_tolerance(const std::string& precision) {
  if (precision == "fp16") return {0.05, 0.05};
  if (precision == "bf16") return {0.3, 0.3};
  if (precision == "tf32") return {0.02, 0.02};
  return {1e-3, 1e-3};
}

namespace {

size_t argmax(const double* row, size_t size) {
  return static_cast<size_t>(std::max_element(row, row + size) - row);
}

/// Equal infinities are no difference, and neither are two NaNs; any other pair with one of these is an infinite one.
double difference(double given, double expected) {
  if (given == expected || (std::isnan(given) && std::isnan(expected))) return 0;
  const double d = std::abs(given - expected);
  return std::isnan(d) ? std::numeric_limits<double>::infinity() : d;
}

}  // namespace

Comparison compare(const std::vector<double>& given, const std::vector<double>& expected, size_t row, const Tolerance& tolerance) {
  Comparison result;
  result.count = given.size();
  double dot = 0;
  double given_square = 0;
  double expected_square = 0;
  for (size_t i = 0; i < given.size(); ++i) {
    const double d = difference(given[i], expected[i]);
    const double magnitude = std::abs(expected[i]);
    result.max_abs = std::max(result.max_abs, d);
    if (magnitude > tolerance.absolute && std::isfinite(magnitude)) result.max_rel = std::max(result.max_rel, d / magnitude);
    const bool within = d == 0 || (std::isfinite(magnitude) && d <= tolerance.absolute + tolerance.relative * magnitude);
    if (!within) ++result.beyond;
    dot += given[i] * expected[i];
    given_square += given[i] * given[i];
    expected_square += expected[i] * expected[i];
  }
  if (given_square > 0 || expected_square > 0) result.cosine = dot / std::sqrt(given_square * expected_square);
  size_t agree = 0;
  const size_t rows = given.size() / row;
  for (size_t r = 0; r < rows; ++r) agree += argmax(&given[r * row], row) == argmax(&expected[r * row], row) ? 1 : 0;
  if (rows > 0) result.top1 = static_cast<double>(agree) / static_cast<double>(rows);
  return result;
}

std::vector<Comparison> check_outputs(const OutputSet& set, const std::vector<fcm_port>& ports, const std::vector<HostTensor>& tensors,
                                      const std::string& folder, const Tolerance& tolerance) {
  std::vector<Comparison> results;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const HostTensor expected(set.path(folder, i));
    const std::vector<int64_t> dims = tensors[i].dims();
    if (expected.dims() != dims) {
      throw Failure(kBadInput, fmt::format("--check: '{}' is {}, but output \"{}\" is {}", set.path(folder, i), dims_text(expected.dims()),
                                           ports[i].name, dims_text(dims)));
    }
    const size_t count = tensors[i].bytes() / dtype_bytes(tensors[i].dtype());
    const size_t row = dims.empty() || dims.back() < 1 ? 1 : static_cast<size_t>(dims.back());
    results.push_back(compare(to_numbers(tensors[i].dtype(), tensors[i].data(), count),
                              to_numbers(expected.dtype(), expected.data(), count), row, tolerance));
    results.back().output = ports[i].name;
  }
  return results;
}

}  // namespace fcm::apps
