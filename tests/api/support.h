// Small models and status checks for the tests of the C API.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "fcm/fcm.hpp"
#include "tests/onnx/model_builder.h"

namespace fcm::testing {

/// The status must have this code and its message contain `text`; released here.
inline void expect_status(fcm_status* status, fcm_status_code code, const std::string& text) {
  ASSERT_NE(status, nullptr) << "success, where this was expected: " << text;
  EXPECT_EQ(fcm_status_get_code(status), code) << fcm_status_message(status);
  EXPECT_NE(std::string(fcm_status_message(status)).find(text), std::string::npos) << fcm_status_message(status);
  fcm_status_release(status);
}

/// x [N,2,4,4] -> 3x3 convolution to 3 channels, ReLU -> global average -> softmax [N,3].
inline std::string small_classifier() {
  std::vector<float> weights(3 * 2 * 9);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = 0.1f * static_cast<float>(static_cast<int>(i % 7) - 3);
  return ModelBuilder(17)
      .input("x", {"N", 2, 4, 4})
      .initializer("w", {3, 2, 3, 3}, weights)
      .initializer("b", {3}, {0.1f, -0.2f, 0.3f})
      .ints("shape", {-1, 3})
      .node("Conv", {"x", "w", "b"}, {"c"}, {{"pads", Ints{1, 1, 1, 1}}})
      .node("Relu", {"c"}, {"r"})
      .node("GlobalAveragePool", {"r"}, {"g"})
      .node("Reshape", {"g", "shape"}, {"f"})
      .node("Softmax", {"f"}, {"y"}, {{"axis", 1}})
      .output("y")
      .metadata("note", "hello")
      .bytes();
}

inline api::Options cpu_options() {
  api::Options options;
  options.set("device", "cpu");
  return options;
}

inline api::Model load(const std::string& bytes, const api::Options& options) {
  return {bytes.data(), bytes.size(), "small.onnx", options};
}

}  // namespace fcm::testing
