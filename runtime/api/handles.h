// What stands behind the opaque handles of fcm.h, and the border that turns exceptions into statuses.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fcm/fcm.h"
#include "runtime/engine/engine.h"
#include "runtime/graph/graph.h"
#include "runtime/onnx/import.h"
#include "runtime/support/error.h"
#include "runtime/support/log.h"

struct fcm_status {
  fcm_status_code code;
  std::string message;
};

struct fcm_options {
  fcm::EngineOptions engine;
  fcm::onnx::ImportOptions import;
  int64_t batch = 0;  // what runs will use; 0: not said
  // Shared with the handles made from these options, so that their calls log to the same place.
  std::shared_ptr<fcm::LogTarget> log = std::make_shared<fcm::LogTarget>(fcm::default_log_target());
};

struct fcm_model {
  std::shared_ptr<const fcm::Graph> graph;
  std::filesystem::path file;  // empty when loaded from memory
  std::string text;
  std::shared_ptr<const fcm::LogTarget> log;
};

struct fcm_engine {
  std::shared_ptr<const fcm::Engine> engine;
  std::shared_ptr<const fcm::Graph> graph;
  std::shared_ptr<const fcm::LogTarget> log;
  // Property texts, made once so that returned pointers stay valid.
  std::vector<std::pair<std::string, std::string>> properties;
};

struct fcm_context {
  std::unique_ptr<fcm::Context> context;
  std::shared_ptr<const fcm::Engine> engine;
  std::shared_ptr<const fcm::LogTarget> log;
  int64_t max_batch = 0;
};

namespace fcm::capi {

/// A status for the exception in flight. Call from a catch block only.
fcm_status* status_of_current_exception() noexcept;
fcm_status* make_status(fcm_status_code code, const std::string& message) noexcept;

/// Error(command_line), the code of bad arguments at this border, unless `ok`.
void require(bool ok, const char* what);

/// Runs `body`, turning whatever it throws into a status.
template <class Body>
fcm_status* guard(Body&& body) noexcept {
  try {
    body();
    return nullptr;
  } catch (...) {
    return status_of_current_exception();
  }
}

/// The same, with messages going where `log` says.
template <class Body>
fcm_status* guard(const std::shared_ptr<const LogTarget>& log, Body&& body) noexcept {
  const LogScope scope(log ? *log : default_log_target());
  return guard(std::forward<Body>(body));
}

}  // namespace fcm::capi
