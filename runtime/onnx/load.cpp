#include "runtime/onnx/load.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <new>
#include <optional>

#include "onnx.pb.h"
#include "runtime/onnx/text.h"
#include "runtime/onnx/unique_fd.h"
#include "runtime/support/error.h"

namespace fcm::onnx {
namespace {

constexpr size_t kLargestModel = std::numeric_limits<int32_t>::max();
constexpr int kDeepestMessage = 64;  // subgraphs nest four levels each; no real model comes near

struct FieldName {
  uint32_t number;
  uint32_t wire_type;  // 0 varint, 2 length-delimited
  std::string_view name;
};
constexpr std::array<FieldName, 12> kModelFields = {{{1, 0, "ir_version"},
                                                     {2, 2, "producer_name"},
                                                     {3, 2, "producer_version"},
                                                     {4, 2, "domain"},
                                                     {5, 0, "model_version"},
                                                     {6, 2, "doc_string"},
                                                     {7, 2, "graph"},
                                                     {8, 2, "opset_import"},
                                                     {14, 2, "metadata_props"},
                                                     {20, 2, "training_info"},
                                                     {25, 2, "functions"},
                                                     {26, 2, "configuration"}}};

struct Magic {
  std::string_view bytes;
  std::string_view kind;
};
constexpr std::array<Magic, 12> kMagics = {{{"\xFF\xD8\xFF", "a JPEG image"},
                                            {"\x89PNG", "a PNG image"},
                                            {"GIF8", "a GIF image"},
                                            {"RIFF", "a RIFF file (WebP image?)"},
                                            {"PK\x03\x04", "a ZIP archive (PyTorch .pt/.pth, or a zipped model?)"},
                                            {"\x80\x02", "a Python pickle (old PyTorch .pth?)"},
                                            {"\x1F\x8B", "a gzip archive"},
                                            {"\x93NUMPY", "a NumPy array"},
                                            {"\x89HDF", "an HDF5 file (Keras .h5?)"},
                                            {"\x7F"
                                             "ELF",
                                             "an ELF binary"},
                                            {"version https://git-lfs", "a Git LFS pointer: fetch the real file with `git lfs pull`"},
                                            {"%PDF", "a PDF document"}}};

// What bytes that are no model look like, or empty when that cannot be told. Ask only then: a model may start with any field.
std::string_view foreign_kind(std::string_view bytes) {
  for (const Magic& magic : kMagics) {
    if (bytes.starts_with(magic.bytes)) return magic.kind;
  }
  if (bytes.size() >= 8 && bytes.substr(4, 4) == "TFL3") return "a TensorFlow Lite model";
  if (bytes.size() >= 14 && bytes.starts_with("BM") && bytes.substr(6, 4) == std::string_view("\0\0\0\0", 4)) return "a BMP image";
  const std::string_view head = bytes.substr(0, 256);
  const bool text =
      std::all_of(head.begin(), head.end(), [](char c) { return (c >= ' ' && c <= '~') || c == '\n' || c == '\r' || c == '\t'; });
  return text ? "a text file" : "";
}

std::optional<uint64_t> read_varint(std::string_view bytes, size_t& position) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (position >= bytes.size()) return std::nullopt;
    const auto byte = static_cast<unsigned char>(bytes[position++]);
    value |= static_cast<uint64_t>(byte & 0x7FU) << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

// Why bytes that protobuf refused are no model: walks the top-level fields until one does not fit.
std::string diagnose(std::string_view bytes) {
  if (const std::string_view kind = foreign_kind(bytes); !kind.empty()) return fmt::format("not an ONNX model but {}", kind);
  size_t position = 0;
  while (position < bytes.size()) {
    const size_t start = position;
    const std::optional<uint64_t> tag = read_varint(bytes, position);
    if (!tag) return fmt::format("truncated or damaged: the field tag at byte {} is incomplete", start);
    const FieldName* field = std::find_if(kModelFields.begin(), kModelFields.end(),
                                          [&](const FieldName& known) { return *tag == (uint64_t{known.number} << 3U | known.wire_type); });
    if (field == kModelFields.end()) {
      return fmt::format("not an ONNX model, or damaged: byte {} starts no field of a model", start);
    }
    const std::optional<uint64_t> number = read_varint(bytes, position);
    if (!number) return fmt::format("truncated: the file ends within field \"{}\" at byte {}", field->name, start);
    if (field->wire_type != 2) continue;
    const size_t left = bytes.size() - position;
    if (*number > left) {
      return fmt::format("truncated: field \"{}\" at byte {} announces {} bytes, but the file ends after {}", field->name, start, *number,
                         left);
    }
    position += static_cast<size_t>(*number);
  }
  return fmt::format("damaged: the protobuf message of {} bytes does not parse (or nests deeper than {} levels)", bytes.size(),
                     kDeepestMessage);
}

}  // namespace

std::string read_model_file(const std::filesystem::path& file) {
  const std::string name = file.string();
  const auto failed = [&](int error) { malformed(name, fmt::format("cannot be read: {}", std::strerror(error))); };
  // Non-blocking, so that a FIFO is seen as what it is instead of waiting for a writer.
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) failed(errno);
  struct stat status = {};
  if (::fstat(fd.get(), &status) != 0) failed(errno);
  if (S_ISDIR(status.st_mode)) malformed(name, "is a folder, not a model file");
  if (!S_ISREG(status.st_mode)) malformed(name, "is not a regular file");
  const auto size = static_cast<uint64_t>(status.st_size);
  if (size == 0) malformed(name, "is empty (0 bytes)");
  if (size > kLargestModel) {
    malformed(name, fmt::format("has {} bytes; protobuf holds at most {}: save the weights as external data", size, kLargestModel));
  }
  std::string bytes;
  try {
    bytes.resize(static_cast<size_t>(size));
  } catch (const std::bad_alloc&) {
    throw Error(ErrorCode::out_of_memory, fmt::format("{}: out of host memory for {} bytes", name, size));
  }
  const size_t got = read_at(fd.get(), 0, bytes.data(), bytes.size(), failed);
  if (got != bytes.size()) malformed(name, fmt::format("ended after {} of {} bytes while it was read", got, size));
  return bytes;
}

std::unique_ptr<::onnx::ModelProto> parse_model(std::string_view bytes, const std::string& name) {
  if (bytes.empty()) malformed(name, "is empty (0 bytes)");
  if (bytes.size() > kLargestModel) malformed(name, fmt::format("has {} bytes; protobuf holds at most {}", bytes.size(), kLargestModel));
  auto model = std::make_unique<::onnx::ModelProto>();
  const int size = static_cast<int>(bytes.size());
  google::protobuf::io::ArrayInputStream array(bytes.data(), size);
  google::protobuf::io::CodedInputStream stream(&array);
  stream.SetTotalBytesLimit(size);
  stream.SetRecursionLimit(kDeepestMessage);
  if (!model->ParseFromCodedStream(&stream) || !stream.ConsumedEntireMessage()) malformed(name, diagnose(bytes));
  if (!model->has_graph()) {
    const std::string_view kind = foreign_kind(bytes);
    malformed(name, kind.empty() ? "not an ONNX model, or truncated: it holds no graph" : fmt::format("not an ONNX model but {}", kind));
  }
  return model;
}

}  // namespace fcm::onnx
