// NumPy .npy files: a magic, a version, a Python dict literal of three known keys, then the elements.
#include "runtime/image/npy.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "runtime/image/file.h"
#include "runtime/support/error.h"

namespace fcm {
namespace {

constexpr std::string_view kMagic("\x93NUMPY", 6);
constexpr size_t kMaxHeader = size_t{1} << 20;
constexpr size_t kMaxRank = 64;

struct TypeCode {
  std::string_view code;
  DType dtype;
};
constexpr std::array<TypeCode, 13> kTypes = {{{"f4", DType::f32},
                                              {"f2", DType::f16},
                                              {"f8", DType::f64},
                                              {"i1", DType::i8},
                                              {"u1", DType::u8},
                                              {"i2", DType::i16},
                                              {"u2", DType::u16},
                                              {"i4", DType::i32},
                                              {"u4", DType::u32},
                                              {"i8", DType::i64},
                                              {"u8", DType::u64},
                                              {"b1", DType::boolean},
                                              {"V2", DType::bf16}}};

struct Header {
  std::string descr;
  bool fortran = false;
  Dims dims;
};

/// Reads the dict literal. Every method throws on what NumPy does not write.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  Header parse() {
    Header header;
    unsigned seen = 0;
    expect('{');
    while (!accept('}')) {
      const std::string key = string();
      expect(':');
      if (key == "descr" && (seen & 1U) == 0) {
        if (peek() == '[') throw Error(ErrorCode::unsupported, fmt::format("tensor '{}': structured arrays are not supported", name_));
        header.descr = string();
        seen |= 1U;
      } else if (key == "fortran_order" && (seen & 2U) == 0) {
        header.fortran = boolean();
        seen |= 2U;
      } else if (key == "shape" && (seen & 4U) == 0) {
        header.dims = tuple();
        seen |= 4U;
      } else {
        fail(fmt::format("unexpected key '{}'", key));
      }
      if (!accept(',') && peek() != '}') fail("expected ',' or '}'");
    }
    if (seen != 7U) fail("descr, fortran_order or shape is missing");
    skip_blank();
    if (at_ != text_.size()) fail("text after the closing brace");
    return header;
  }

 private:
  [[noreturn]] void fail(const std::string& cause) const {
    throw Error(ErrorCode::bad_input, fmt::format("tensor '{}': damaged .npy header, at character {}: {}", name_, at_, cause));
  }
  void skip_blank() { at_ = std::min(text_.find_first_not_of(" \t\n\r", at_), text_.size()); }
  char peek() {
    skip_blank();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool accept(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail(fmt::format("expected '{}'", c));
  }
  bool accept_word(std::string_view word) {
    skip_blank();
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  std::string string() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') fail("expected a string");
    const size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) fail("a string without end");
    std::string result(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return result;
  }
  bool boolean() {
    if (accept_word("True")) return true;
    if (!accept_word("False")) fail("expected True or False");
    return false;
  }
  Dims tuple() {
    Dims dims;
    expect('(');
    while (!accept(')')) {
      skip_blank();
      int64_t dim = 0;
      const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), dim);
      if (error != std::errc() || dim < 0) fail("expected a dimension");
      at_ = static_cast<size_t>(end - text_.data());
      accept_word("L");  // Python 2 wrote long integers so
      dims.push_back(dim);
      if (dims.size() > kMaxRank) fail(fmt::format("more than {} dimensions", kMaxRank));
      if (!accept(',') && peek() != ')') fail("expected ',' or ')'");
    }
    return dims;
  }

  std::string_view text_;
  const std::string& name_;
  size_t at_ = 0;
};

DType parse_descr(const std::string& descr, const std::string& name) {
  const std::string_view order = std::string_view(descr).substr(0, 1);
  const std::string_view code = std::string_view(descr).substr(std::min<size_t>(1, descr.size()));
  for (const TypeCode& type : kTypes) {
    if (type.code != code) continue;
    if (order == "<" || order == "=" || order == "|") return type.dtype;
    if (order == ">" && dtype_size(type.dtype) == 1) return type.dtype;
    if (order == ">")
      throw Error(ErrorCode::unsupported, fmt::format("tensor '{}': big-endian data ('{}') are not supported", name, descr));
  }
  throw Error(ErrorCode::unsupported, fmt::format("tensor '{}': element type '{}' is not supported", name, descr));
}

/// Row-major from column-major: counts the row-major index up, axis by axis from the last, and follows with the source offset.
void from_fortran(std::span<const std::byte> source, Tensor& tensor) {
  const size_t element = dtype_size(tensor.dtype());
  const Dims& dims = tensor.dims();
  std::vector<size_t> stride(dims.size(), element);
  for (size_t axis = 1; axis < dims.size(); ++axis) stride[axis] = stride[axis - 1] * static_cast<size_t>(dims[axis - 1]);
  std::vector<int64_t> index(dims.size(), 0);
  size_t from = 0;
  for (size_t to = 0; to < source.size(); to += element) {
    std::memcpy(tensor.raw() + to, source.data() + from, element);
    for (size_t axis = dims.size(); axis-- > 0;) {
      from += stride[axis];
      if (++index[axis] < dims[axis]) break;
      from -= stride[axis] * static_cast<size_t>(dims[axis]);
      index[axis] = 0;
    }
  }
}

/// The header's text and where the elements start.
struct Preamble {
  std::string_view header;
  size_t data = 0;
};

Preamble split(std::span<const std::byte> bytes, const std::string& name) {
  const auto fail = [&](const std::string& cause) { throw Error(ErrorCode::bad_input, fmt::format("tensor '{}': {}", name, cause)); };
  if (bytes.size() < 10 || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) fail("not a .npy file");
  const int version = std::to_integer<int>(bytes[6]);
  if (version < 1 || version > 3) fail(fmt::format(".npy format version {} is unknown; 1 to 3 are read", version));
  const size_t length_size = version == 1 ? 2 : 4;
  const size_t start = 8 + length_size;
  if (bytes.size() < start) fail("the .npy header is truncated");
  size_t length = 0;
  for (size_t i = length_size; i-- > 0;) length = length << 8 | std::to_integer<size_t>(bytes[8 + i]);
  if (length > kMaxHeader) fail(fmt::format("a .npy header of {} bytes; at most {} are accepted", length, kMaxHeader));
  if (length > bytes.size() - start) fail("the .npy header is truncated");
  return {{reinterpret_cast<const char*>(bytes.data()) + start, length}, start + length};
}

}  // namespace

Tensor parse_npy(std::span<const std::byte> bytes, const std::string& name) {
  const Preamble preamble = split(bytes, name);
  const Header header = HeaderParser(preamble.header, name).parse();
  const DType dtype = parse_descr(header.descr, name);
  const std::span<const std::byte> data = bytes.subspan(preamble.data);
  int64_t count = 0;
  try {
    count = element_count(header.dims);
  } catch (const Error& e) {
    throw Error(e.code(), fmt::format("tensor '{}': {}", name, e.what()));
  }
  // Compared by division, so that a made-up shape cannot overflow; and before the allocation, so that it cannot exhaust memory.
  if (data.size() % dtype_size(dtype) != 0 || static_cast<size_t>(count) != data.size() / dtype_size(dtype)) {
    throw Error(ErrorCode::bad_input,
                fmt::format("tensor '{}': the header says {} [{}], which does not fit the {} bytes of data that follow", name,
                            dtype_name(dtype), fmt::join(header.dims, ","), data.size()));
  }
  Tensor tensor(dtype, header.dims);
  if (header.fortran && header.dims.size() > 1) {
    from_fortran(data, tensor);
  } else if (!data.empty()) {
    std::memcpy(tensor.raw(), data.data(), data.size());
  }
  if (dtype == DType::boolean) {  // a byte other than 0 and 1 is no bool
    for (size_t i = 0; i < tensor.bytes(); ++i) tensor.raw()[i] = std::byte{tensor.raw()[i] != std::byte{0}};
  }
  return tensor;
}

Tensor load_npy(const std::string& path) {
  constexpr size_t kMaxFile = size_t{1} << 34;
  return parse_npy(read_file(path, "tensor", kMaxFile), path);
}

void save_npy(const Tensor& tensor, const std::string& path) {
  if (tensor.dtype() == DType::bf16) return save_npy(tensor.cast(DType::f32), path);
  std::string_view code;
  for (const TypeCode& type : kTypes) {
    if (type.dtype == tensor.dtype()) code = type.code;
  }
  std::string shape;
  for (const int64_t dim : tensor.dims()) shape += fmt::format("{}, ", dim);
  if (tensor.rank() > 1) shape.resize(shape.size() - 2);
  std::string header =
      fmt::format("{{'descr': '{}{}', 'fortran_order': False, 'shape': ({}), }}", dtype_size(tensor.dtype()) == 1 ? '|' : '<', code,
                  tensor.rank() == 1 ? shape.substr(0, shape.size() - 1) : shape);
  // Blanks and a newline, so that the elements start at a multiple of 64 bytes.
  constexpr size_t kPreamble = 10;
  header.append(63 - (kPreamble + header.size()) % 64, ' ');
  header += '\n';
  std::string preamble(kMagic);
  preamble += {'\x01', '\x00', static_cast<char>(header.size() & 0xFF), static_cast<char>(header.size() >> 8)};
  preamble += header;
  const std::array<std::span<const std::byte>, 2> parts = {std::as_bytes(std::span(preamble)), {tensor.raw(), tensor.bytes()}};
  write_file(path, "tensor", parts);
}

}  // namespace fcm
