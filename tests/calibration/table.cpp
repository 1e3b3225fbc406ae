// Reading and writing of the table.
#include "tests/calibration/table.h"

#include <fmt/format.h>

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

std::vector<ModuleSpec> read_specs(const std::string& path, DType dtype) {
  std::ifstream file(path);
  if (!file) throw Error(ErrorCode::bad_input, fmt::format("list of modules '{}' cannot be read", path));
  std::vector<ModuleSpec> specs;
  std::string line;
  for (int at = 1; std::getline(file, line); ++at) {
    if (line.empty() || line[0] == '#') continue;
    const size_t bar = line.find(" | ");
    try {
      ModuleSpec spec = parse_spec(bar == std::string::npos ? std::string_view(line) : std::string_view(line).substr(bar + 3));
      for (StageSpec& stage : spec.stages) stage.dtype = dtype;
      specs.push_back(std::move(spec));
    } catch (const Error& e) {
      throw Error(ErrorCode::bad_input, fmt::format("{}:{}: {}", path, at, e.what()));
    }
  }
  return specs;
}

}  // namespace fcm::calibration
