// Running a built program, and small models and images to run it on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/onnx/model_builder.h"

namespace fcm::test {

struct Outcome {
  int code = -1;  ///< exit code, or -signal
  std::string out, err;
};

struct RunOptions {
  std::vector<std::string> environment;  ///< NAME=VALUE, added
  std::string stdout_path;               ///< where standard output goes, in place of Outcome::out
  bool terminal = false;                 ///< standard output and error are a terminal; both arrive in Outcome::out
  size_t file_size_limit = 0;            ///< bytes after which a write to a file fails, as on a full disk; 0: none
  bool ordinary_rights = false;          ///< permissions of files count, for root too
};

/// Runs the program at this path.
Outcome run(const std::string& program, const std::vector<std::string>& arguments, const RunOptions& options = {});
/// Runs fcm-infer with these arguments.
Outcome infer(const std::vector<std::string>& arguments, const RunOptions& options = {});

/// A folder that goes away with the test.
class Folder {
 public:
  Folder();
  ~Folder();
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string path(const std::string& name = "") const { return name.empty() ? path_.string() : (path_ / name).string(); }
  std::string write(const std::string& name, const std::string& bytes) const;
  /// A BMP of one colour.
  std::string image(const std::string& name, int width, int height, uint8_t red, uint8_t green, uint8_t blue) const;
  /// Float32 values as .npy.
  std::string npy(const std::string& name, const Dims& dims, const std::vector<float>& values) const;
  std::string model(const std::string& name, const testing::ModelBuilder& builder) const { return write(name, builder.bytes()); }
  /// Input "x" [N,3,4,4], raw pixels; output "mean" [N,3]; labels red, green, blue.
  std::string colour_model(const std::string& name = "colour.onnx") const;

 private:
  std::filesystem::path path_;
};

}  // namespace fcm::test
