// Reading and writing of the table.
#include "tests/calibration/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>

#include "runtime/support/error.h"

namespace fcm::calibration {
namespace {

std::vector<std::string> split(const std::string& line, char mark) {
  std::vector<std::string> fields;
  std::istringstream in(line);
  for (std::string field; std::getline(in, field, mark);) fields.push_back(field);
  return fields;
}

template <class Number>
Number number(const std::string& text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) throw Error(ErrorCode::bad_input, fmt::format("'{}' is no number", text));
  return value;
}

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(' ');
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(' ') - first + 1);
}

/// "1,8,64"
std::vector<int> parse_images(const std::string& text) {
  std::vector<int> images;
  for (const std::string& n : split(text, ',')) images.push_back(number<int>(n));
  if (std::any_of(images.begin(), images.end(), [](int n) { return n < 1; })) throw Error(ErrorCode::bad_input, "no images");
  return images;
}

Row parse_row(const std::string& line) {
  const std::vector<std::string> f = split(line, '\t');
  if (f.size() != 7) throw Error(ErrorCode::bad_input, fmt::format("{} fields in place of 7", f.size()));
  return {number<int>(f[0]), number<double>(f[1]), parse_spec(f[5]), parse_tile(f[6]),
          number<int>(f[2]), number<int>(f[3]),    number<int>(f[4])};
}

}  // namespace

std::string to_string(const Row& r) {
  return fmt::format("{}\t{:.3f}\t{}\t{}\t{}\t{}\t{}", r.batch, r.us, r.registers, r.spilled_bytes, r.resident, fcm::to_string(r.spec),
                     fcm::to_string(r.tile));
}

std::string key_of(const ModuleSpec& spec, const TileConfig& tile, int batch) {
  return fmt::format("{} {} {}", batch, fcm::to_string(spec), fcm::to_string(tile));
}

std::vector<Row> read_rows(const std::string& path) {
  std::vector<Row> rows;
  std::ifstream file(path);
  std::string line;
  for (int at = 1; std::getline(file, line); ++at) {
    if (line.empty() || line[0] == '#') continue;
    if (file.eof()) break;
    try {
      rows.push_back(parse_row(line));
    } catch (const Error& e) {
      throw Error(ErrorCode::bad_input, fmt::format("{}:{}: {}", path, at, e.what()));
    }
  }
  return rows;
}

std::vector<ListedModule> read_modules(const std::string& path, DType dtype) {
  std::ifstream file(path);
  if (!file) throw Error(ErrorCode::bad_input, fmt::format("list of modules '{}' cannot be read", path));
  std::vector<ListedModule> modules;
  std::string line;
  for (int at = 1; std::getline(file, line); ++at) {
    if (line.empty() || line[0] == '#') continue;
    const std::vector<std::string> fields = split(line, '|');
    try {
      if (fields.size() > 3) throw Error(ErrorCode::bad_input, "more than a name, a module and numbers of images");
      ListedModule module{parse_spec(trimmed(fields[fields.size() == 1 ? 0 : 1])), {}};
      for (StageSpec& stage : module.spec.stages) stage.dtype = dtype;
      if (fields.size() == 3) module.images = parse_images(trimmed(fields[2]));
      modules.push_back(std::move(module));
    } catch (const Error& e) {
      throw Error(ErrorCode::bad_input, fmt::format("{}:{}: {}", path, at, e.what()));
    }
  }
  return modules;
}

}  // namespace fcm::calibration
