// ONNX protobuf to Graph. The only room that sees onnx.pb.h.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "runtime/graph/graph.h"

namespace fcm::onnx {

struct ImportOptions {
  /// Fixes free input dimensions: name -> full dims ("input" -> 1,3,224,224); -1 leaves a dimension as the model says. An unknown
  /// name, or a value that contradicts a dimension fixed in the model, is Error(command_line).
  std::map<std::string, Dims> shapes;
};

/// Reads a model file (external data beside it) and builds an unfolded Graph: operators in canonical form, values without
/// shapes except inputs and constants, with dtypes. The first symbolic dimension at axis 0 of an input becomes the batch B (where
/// there is none, the first named after the batch), as does every dimension of the same name and every nameless axis 0; other
/// symbolic dimensions must be fixed by `options.shapes`, else Error(bad_input) lists them. Opset 7 to the newest released; a
/// newer stamp is read as the newest known, with a warning. Throws Error(bad_input) for anything malformed (NaN weights
/// included), Error(unsupported) with ONE report of everything that is not supported.
Graph import_file(const std::filesystem::path& file, const ImportOptions& options = {});
/// The same from memory; `name` stands for the file in messages, external data is looked up in `folder` (empty: refused).
Graph import_bytes(std::string_view bytes, const std::string& name, const std::filesystem::path& folder, const ImportOptions& options = {});

}  // namespace fcm::onnx
