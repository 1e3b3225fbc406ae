// One context of an engine with its buffers: what a thread keeps busy while it is measured.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "apps/fcm-bench/gpu.h"
#include "fcm/fcm.hpp"

namespace fcm::bench {

/// Inputs are random and the same for the same model: normal numbers for floats, all values for uint8, zeros for other types.
class Runner {
 public:
  /// `gpu` may be null: the CPU. Throws api::Error.
  Runner(const api::Engine& engine, int64_t batch, std::unique_ptr<Gpu> gpu);

  /// On a GPU: enqueues a run on device buffers and returns. On the CPU: runs.
  void enqueue();
  /// A run on host buffers, transfers included; returns after it.
  void run_on_host();
  /// Enqueues and waits.
  void run();
  /// Runs step by step; see fcm_context_trace.
  void trace(fcm_step_callback before, void* user);

  Gpu* gpu() { return gpu_.get(); }
  api::Context& context() { return context_; }
  int64_t batch() const { return batch_; }

 private:
  std::unique_ptr<Gpu> gpu_;
  int64_t batch_;
  api::Context context_;
  std::vector<std::vector<std::byte>> memory_;  // of the host buffers
  std::vector<fcm_input> host_inputs_, inputs_;
  std::vector<fcm_output> host_outputs_, outputs_;
};

/// The bytes of a port at a batch.
size_t port_bytes(const fcm_port& port, int64_t batch);

}  // namespace fcm::bench
