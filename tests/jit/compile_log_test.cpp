#include "runtime/jit/compile_log.h"

#include <gtest/gtest.h>

#include "runtime/support/error.h"

namespace fcm::jit {
namespace {

constexpr const char* kLog =
    "ptxas info    : 0 bytes gmem\n"
    "ptxas info    : Compiling entry function 'k2' for 'sm_90a'\n"
    "ptxas info    : Function properties for k2\n"
    "ptxas         .     800 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads\n"
    "ptxas info    : Used 32 registers, used 0 barriers, 800 bytes cumulative stack size\n"
    "ptxas info    : Compile time = 7.591 ms\n"
    "ptxas info    : Compiling entry function 'k' for 'sm_90a'\n"
    "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
    "ptxas info    : Used 10 registers, used 1 barriers, 512 bytes smem\n";

TEST(CompileLog, ReadsPtxasFigures) {
  const auto figures = parse_figures(kLog);
  ASSERT_EQ(figures.size(), 2U);
  EXPECT_EQ(figures.at("k2").registers, 32);
  EXPECT_EQ(figures.at("k2").stack_bytes, 800);
  EXPECT_EQ(figures.at("k2").spill_store_bytes, 12);
  EXPECT_EQ(figures.at("k2").spill_load_bytes, 16);
  EXPECT_EQ(figures.at("k").registers, 10);
  EXPECT_EQ(figures.at("k").static_shared_bytes, 512);
}

TEST(CompileLog, QuotesTheLinesThatErrorsName) {
  const Program program{"demo", "one\ntwo\nthree\nfour\nfive\n", {{"h.cuh", "alpha\nbeta\n"}}, {}};
  const std::string text = quoted_lines(program, "demo.cu(3): error: bad\nh.cuh(2): error: worse\nelsewhere(9): error: unknown file\n");
  EXPECT_EQ(text,
            "demo.cu:\n     1 | one\n     2 | two\n>    3 | three\n     4 | four\n     5 | five\nh.cuh:\n     1 | alpha\n>    2 | beta\n");
  EXPECT_EQ(quoted_lines(program, "demo.cu(99999999999): error: x\ndemo.cu(): y\n(3): z\ndemo.cu(77): far\n"), "demo.cu:\n");
}

TEST(CompileLog, KeepsWarningsAndDropsFigures) {
  EXPECT_EQ(diagnostics(std::string(kLog).substr(0, 80) + "\nx.cu(1): warning: w\n"), "x.cu(1): warning: w\n");
}

TEST(Target, ParsesAndPrints) {
  for (const char* text : {"75", "80", "86", "87", "89", "90a", "100", "120"}) EXPECT_EQ(Target::parse(text).text(), text);
  EXPECT_EQ(Target::parse("sm_90a"), (Target{9, 0, true}));
  EXPECT_EQ(Target::parse("120"), (Target{12, 0, false}));
  for (const char* text : {"", "a", "9", "90b", "9000", "-80", "70", "8 0"}) EXPECT_THROW(Target::parse(text), Error) << text;
}

}  // namespace
}  // namespace fcm::jit
