#include <fmt/format.h>

#include "runtime/api/handles.h"
#include "runtime/passes/passes.h"

namespace {

fcm_model* make_model(fcm::Graph graph, std::filesystem::path file, const fcm_options* options, std::shared_ptr<const fcm::LogTarget> log) {
  if (options == nullptr || options->import.shapes.empty()) fcm::passes::free_batch(graph, options == nullptr ? 0 : options->batch);
  fcm::passes::normalize(graph);
  auto model = std::make_unique<fcm_model>();
  model->text = to_string(graph);
  model->graph = std::make_shared<const fcm::Graph>(std::move(graph));
  model->file = std::move(file);
  model->log = std::move(log);
  return model.release();
}

// The log target as it stands now: later changes to the options do not reach handles made before.
std::shared_ptr<const fcm::LogTarget> log_of(const fcm_options* options) {
  return std::make_shared<const fcm::LogTarget>(options == nullptr ? fcm::default_log_target() : *options->log);
}

fcm::onnx::ImportOptions import_options(const fcm_options* options) {
  return options == nullptr ? fcm::onnx::ImportOptions{} : options->import;
}

}  // namespace

fcm_status* fcm_model_load(const char* path, const fcm_options* options, fcm_model** out) {
  std::shared_ptr<const fcm::LogTarget> log;
  fcm_status* failed = fcm::capi::guard([&] { log = log_of(options); });
  if (failed != nullptr) return failed;
  return fcm::capi::guard(log, [&] {
    fcm::capi::require(path != nullptr && out != nullptr, "NULL given to fcm_model_load");
    *out = make_model(fcm::onnx::import_file(path, import_options(options)), path, options, log);
  });
}

fcm_status* fcm_model_load_memory(const void* data, size_t size, const char* name, const char* folder, const fcm_options* options,
                                  fcm_model** out) {
  std::shared_ptr<const fcm::LogTarget> log;
  fcm_status* failed = fcm::capi::guard([&] { log = log_of(options); });
  if (failed != nullptr) return failed;
  return fcm::capi::guard(log, [&] {
    fcm::capi::require(data != nullptr && name != nullptr && out != nullptr, "NULL given to fcm_model_load_memory");
    const std::string_view bytes(static_cast<const char*>(data), size);
    *out = make_model(fcm::onnx::import_bytes(bytes, name, folder == nullptr ? "" : folder, import_options(options)), {}, options, log);
  });
}

void fcm_model_release(fcm_model* model) {
  delete model;
}

const char* fcm_model_metadata(const fcm_model* model, const char* key) {
  if (model == nullptr || key == nullptr) return nullptr;
  const auto found = model->graph->metadata.find(key);
  return found == model->graph->metadata.end() ? nullptr : found->second.c_str();
}

const char* fcm_model_text(const fcm_model* model) {
  return model == nullptr ? nullptr : model->text.c_str();
}
