// Runs module cases on the current device with guarded, NaN-filled buffers and compares them with the reference.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "fcm/launch.h"
#include "tests/modules/cases.h"

namespace fcm::testing {

/// Device memory between two guard zones; filled with 0xff bytes (NaN in every float format).
class GuardedBuffer {
 public:
  explicit GuardedBuffer(size_t bytes);
  explicit GuardedBuffer(const std::vector<uint8_t>& contents);
  ~GuardedBuffer();
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;

  void* get() const { return base_ == nullptr ? nullptr : static_cast<uint8_t*>(base_) + kGuard; }
  size_t size() const { return bytes_; }
  std::vector<uint8_t> read() const;
  bool guards_intact() const;

 private:
  static constexpr size_t kGuard = 512;
  void* base_ = nullptr;
  size_t bytes_ = 0;
};

/// The buffers of one case on the device.
struct DeviceCase {
  DeviceCase(const Case& c, const Operands& operands, const LaunchPlan& plan);

  ModuleArgs args(int batch) const;

  std::unique_ptr<GuardedBuffer> weights, input, residual, gate, output, pool;
  std::vector<float> scale, shift;
};

/// Launches once and compares; an empty text when everything holds, else what differs.
std::string check_case(const Case& c, const Operands& operands, const ModuleResult& expected, const ModuleKernel& kernel);

struct Failure {
  Case which;
  std::string why;
};
/// Compiles and computes references on all cores, runs every case on the current device, returns those that fail.
std::vector<Failure> failing_cases(const std::vector<Case>& cases, const jit::Target& target);

/// Compiles the programs of all cases (in parallel); entry i belongs to case i.
std::vector<jit::Binary> compile_cases(const std::vector<Case>& cases, const jit::Target& target, bool jitter = false);

}  // namespace fcm::testing
