// Comparing outputs with expected ones.
#pragma once

#include <string>
#include <vector>

#include "apps/common/tensor.h"
#include "apps/fcm-infer/outputs.h"

namespace fcm::apps {

struct Tolerance {
  double absolute = 0;
  double relative = 0;
};
/// For a precision name of the engine ("fp32", "tf32", "fp16", "bf16").
Tolerance default_tolerance(const std::string& precision);

struct Comparison {
  std::string output;
  double max_abs = 0;  ///< infinite where one is NaN or infinite and the other is not the same
  double max_rel = 0;  ///< |given - expected| / |expected|, over elements whose expected magnitude exceeds the absolute tolerance
  double cosine = 1;   ///< of both as vectors; 1 when both are zero
  double top1 = 1;     ///< share of rows (last axis) whose largest elements agree
  size_t beyond = 0;   ///< elements with |given - expected| > absolute + relative * |expected|
  size_t count = 0;
  bool passed() const { return beyond == 0; }
};

/// Of dense data of equal shape. `row`: elements of the last axis, at least 1.
Comparison compare(const std::vector<double>& given, const std::vector<double>& expected, size_t row, const Tolerance& tolerance);

/// Every output against FOLDER/NAME.npy, which may have another dtype but has the same shape, else Failure(kBadInput).
std::vector<Comparison> check_outputs(const OutputSet& set, const std::vector<fcm_port>& ports, const std::vector<HostTensor>& tensors,
                                      const std::string& folder, const Tolerance& tolerance);

}  // namespace fcm::apps
