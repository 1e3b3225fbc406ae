#include "runtime/jit/compile_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <sstream>
#include <vector>

namespace fcm::jit {
namespace {

constexpr size_t kMaxQuoted = 20;  // errors quoted: the first ones matter

// The number before `unit` in `line` ("32 registers"), or 0.
int number_before(const std::string& line, const std::string& unit) {
  const size_t end = line.find(unit);
  if (end == std::string::npos || end == 0) return 0;
  size_t begin = end;
  while (begin > 0 && (line[begin - 1] == ' ')) --begin;
  size_t digits = begin;
  while (digits > 0 && line[digits - 1] >= '0' && line[digits - 1] <= '9') --digits;
  return digits == begin ? 0 : std::atoi(line.c_str() + digits);
}

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

bool is_ptxas_information(const std::string& line) {
  if (line.starts_with("ptxas info")) return true;
  return line.starts_with("ptxas  ") && line.find("stack frame") != std::string::npos;
}

// "FILE(12): error: ..." or "FILE(12): warning ...": the file and the line.
bool parse_position(const std::string& line, std::string& file, size_t& number) {
  const size_t close = line.find("): ");
  if (close == std::string::npos) return false;
  const size_t open = line.rfind('(', close);
  if (open == std::string::npos || open == 0 || open + 1 == close) return false;
  const std::string digits = line.substr(open + 1, close - open - 1);
  if (digits.size() > 7 || digits.find_first_not_of("0123456789") != std::string::npos) return false;
  file = line.substr(0, open);
  number = static_cast<size_t>(std::atoi(digits.c_str()));
  return true;
}

const std::string* find_source(const Program& program, const std::string& file) {
  if (file == source_name(program)) return &program.source;
  const auto header = program.headers.find(file);
  return header == program.headers.end() ? nullptr : &header->second;
}

}  // namespace

std::string source_name(const Program& program) {
  return program.name + ".cu";
}

std::map<std::string, KernelFigures> parse_figures(const std::string& log) {
  std::map<std::string, KernelFigures> figures;
  KernelFigures* current = nullptr;
  for (const std::string& line : split_lines(log)) {
    constexpr const char* kEntry = "Compiling entry function '";
    if (const size_t at = line.find(kEntry); at != std::string::npos) {
      const size_t begin = at + std::string(kEntry).size();
      current = &figures[line.substr(begin, line.find('\'', begin) - begin)];
    } else if (current != nullptr && line.find("bytes stack frame") != std::string::npos) {
      current->stack_bytes = number_before(line, "bytes stack frame");
      current->spill_store_bytes = number_before(line, "bytes spill stores");
      current->spill_load_bytes = number_before(line, "bytes spill loads");
    } else if (current != nullptr && line.find("Used ") != std::string::npos) {
      current->registers = number_before(line, "registers");
      current->static_shared_bytes = number_before(line, "bytes smem");
    }
  }
  return figures;
}

std::string diagnostics(const std::string& log) {
  std::string kept;
  for (const std::string& line : split_lines(log))
    if (!is_ptxas_information(line) && !line.empty() && line[0] != '\0') kept += line + "\n";
  return kept;
}

std::string quoted_lines(const Program& program, const std::string& log) {
  std::string text;
  std::set<std::pair<std::string, size_t>> quoted;
  for (const std::string& line : split_lines(log)) {
    std::string file;
    size_t number = 0;
    if (!parse_position(line, file, number) || quoted.size() >= kMaxQuoted || !quoted.insert({file, number}).second) continue;
    const std::string* source = find_source(program, file);
    if (source == nullptr) continue;
    const std::vector<std::string> lines = split_lines(*source);
    text += fmt::format("{}:\n", file);
    for (size_t i = number > 2 ? number - 2 : 1; i <= std::min(number + 2, lines.size()); ++i)
      text += fmt::format("{}{:5} | {}\n", i == number ? ">" : " ", i, lines[i - 1]);
  }
  return text;
}

}  // namespace fcm::jit
