// A model file to its protobuf message, with every way in which a file can fail to be one told apart.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace onnx {
class ModelProto;
}

namespace fcm::onnx {

/// The whole of a regular file below 2 GiB (protobuf's limit). Throws Error(bad_input) naming the file and the cause: missing,
/// a folder, not readable, empty, too large.
std::string read_model_file(const std::filesystem::path& file);

/// Parses a ModelProto that has a graph; `name` stands for the file in messages. Throws Error(bad_input) that says what was
/// read and where: empty, truncated, damaged, or another kind of file (JPEG, ZIP, text, ...).
std::unique_ptr<::onnx::ModelProto> parse_model(std::string_view bytes, const std::string& name);

}  // namespace fcm::onnx
