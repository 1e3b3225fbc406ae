// The operator table, against the schemas of the pinned onnx package where Python has it.
#include "runtime/onnx/operators/registry.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>

namespace fcm::onnx {
namespace {

TEST(Registry, NamesAreUniqueAndFound) {
  std::set<std::string_view> names;
  for (const OperatorEntry* entry : all_operators()) {
    EXPECT_TRUE(names.insert(entry->type).second) << entry->type;
    EXPECT_EQ(find_operator(entry->type), entry);
    EXPECT_GE(entry->first, kOldestOpset) << entry->type;
  }
  EXPECT_GE(names.size(), 105U);
  EXPECT_EQ(find_operator("Zzz"), nullptr);
  EXPECT_EQ(find_operator(""), nullptr);
}

// Each entry's oldest opset and newest form must be those of the schemas: a newer wheel that changes an operator fails here.
TEST(Registry, AgreesWithTheOnnxPackage) {
  const std::filesystem::path python = std::filesystem::path(FCM_SOURCE_DIR) / ".deps/venv/bin/python";
  if (!std::filesystem::exists(python)) GTEST_SKIP() << python << " is not there";
  const std::filesystem::path script = std::filesystem::path(FCM_BINARY_DIR) / "onnx_schema_check.py";
  {
    std::ofstream out(script);
    out << "import onnx.defs as d\nbad = []\nhistory = {}\n"
           "for s in d.get_all_schemas_with_history():\n"
           "    if s.domain == '': history.setdefault(s.name, []).append(s.since_version)\n"
        << fmt::format("if d.onnx_opset_version() != {}: bad.append(f'newest opset {{d.onnx_opset_version()}}')\n", kNewestOpset)
        << "table = [\n";
    for (const OperatorEntry* entry : all_operators()) out << fmt::format("  ('{}', {}, {}),\n", entry->type, entry->first, entry->newest);
    out << "]\nfor name, first, newest in table:\n"
        << fmt::format("    since = history[name]\n    want = (max({}, min(since)), max(since))\n", kOldestOpset)
        << "    if (first, newest) != want: bad.append(f'{name} {first} {newest}: schemas say {want}')\n"
           "print('\\n'.join(bad) if bad else 'agrees')\n";
  }
  const std::string command = fmt::format("'{}' '{}' 2>&1", python.string(), script.string());
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
  ASSERT_NE(pipe, nullptr);
  std::string text;
  std::array<char, 512> buffer{};
  while (std::fgets(buffer.data(), buffer.size(), pipe.get()) != nullptr) text += buffer.data();
  if (text.find("ModuleNotFoundError") != std::string::npos) GTEST_SKIP() << "onnx is not installed in " << python;
  EXPECT_EQ(text, "agrees\n");
}

}  // namespace
}  // namespace fcm::onnx
