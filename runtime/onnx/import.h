// ONNX protobuf to Graph. The only room that sees onnx.pb.h.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "runtime/graph/graph.h"

namespace fcm::onnx {

struct ImportOptions {
  /// Fixes free input dimensions: name -> full dims ("input" -> 1,3,224,224). An unknown name is Error(command_line).
  std::map<std::string, Dims> shapes;
};

/// Reads a model file (external data beside it) and builds an unfolded Graph: operators in canonical form, values without
/// shapes except inputs and constants. The first symbolic input dimension becomes the batch B; other symbolic dimensions must be
/// fixed by `options.shapes`, else Error(bad_input) names them. Throws Error(bad_input) for anything malformed, Error(unsupported)
/// with ONE report of every operator that is not supported.
Graph import_file(const std::filesystem::path& file, const ImportOptions& options = {});
/// The same from memory; `name` stands for the file in messages, external data is looked up in `folder` (empty: refused).
Graph import_bytes(std::string_view bytes, const std::string& name, const std::filesystem::path& folder, const ImportOptions& options = {});

}  // namespace fcm::onnx
