// NVRTC at work; needs no GPU. Skips with the reason where NVRTC cannot be opened.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <thread>

#include "runtime/jit/jit.h"
#include "runtime/support/error.h"
#include "runtime/support/log.h"

namespace fcm::jit {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTargets[] = {"75", "80", "86", "87", "89", "90a", "100", "120"};

Program reverse_program(int size) {
  return {"reverse",
          "#include \"parts/size.cuh\"\n"
          "extern \"C\" __global__ void reverse(float* x) {\n"
          "  __shared__ float s[kSize];\n"
          "  s[threadIdx.x] = x[threadIdx.x];\n"
          "  __syncthreads();\n"
          "  x[threadIdx.x] = s[kSize - 1 - threadIdx.x] * SCALE;\n"
          "}\n",
          {{"parts/size.cuh", "constexpr int kSize = " + std::to_string(size) + ";\n"}},
          {"-DSCALE=2.0f"}};
}

class CompileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string reason;
    if (!compiler_available(&reason)) GTEST_SKIP() << reason;
    std::string name = (fs::temp_directory_path() / "fcm-jit-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  void TearDown() override {
    std::error_code ignored;
    if (!folder_.empty()) fs::remove_all(folder_, ignored);
  }
  fs::path folder_;
};

TEST_F(CompileTest, EveryTargetGivesACubinWithFigures) {
  for (const char* text : kTargets) {
    const Binary binary = compile(reverse_program(128), Target::parse(text), DiskCache::none());
    ASSERT_GT(binary.cubin.size(), 500U) << text;
    EXPECT_EQ(binary.cubin.substr(1, 3), "ELF") << text;
    ASSERT_EQ(binary.kernels.count("reverse"), 1U) << text;
    const KernelFigures& figures = binary.kernels.at("reverse");
    EXPECT_GT(figures.registers, 0) << text;
    EXPECT_GE(figures.static_shared_bytes, 512) << text;
    EXPECT_EQ(figures.spill_store_bytes, 0) << text;
  }
}

TEST_F(CompileTest, SpillsAreReported) {
  Program program = reverse_program(128);
  program.source =
      "extern \"C\" __global__ void spill(float* x) {\n"
      "  float a[64];\n"
      "#pragma unroll\n"
      "  for (int i = 0; i < 64; ++i) a[i] = x[i * 32 + threadIdx.x];\n"
      "  __syncthreads();\n"
      "#pragma unroll\n"
      "  for (int i = 0; i < 64; ++i) x[i * 32 + threadIdx.x] = a[63 - i] * a[i];\n"
      "}\n";
  program.options.emplace_back("--maxrregcount=24");
  EXPECT_GT(compile(program, Target::parse("90a"), DiskCache::none()).kernels.at("spill").spill_store_bytes, 0);
}

TEST_F(CompileTest, AnErrorQuotesTheNumberedLines) {
  Program program = reverse_program(128);
  program.headers["parts/size.cuh"] = "// first\nconstexpr int kSize = undefined_name;\n";
  try {
    compile(program, Target::parse("80"), DiskCache(folder_));
    FAIL() << "compiled";
  } catch (const Error& error) {
    const std::string text = error.what();
    EXPECT_EQ(error.code(), ErrorCode::device);
    EXPECT_NE(text.find("kernel reverse does not compile for sm_80"), std::string::npos) << text;
    EXPECT_NE(text.find("undefined_name"), std::string::npos) << text;
    EXPECT_NE(text.find(">    2 | constexpr int kSize = undefined_name;"), std::string::npos) << text;
  }
  EXPECT_TRUE(fs::is_empty(folder_));
}

TEST_F(CompileTest, NoHeaderButTheProgramsOwn) {
  Program program = reverse_program(128);
  program.source = "#include <cuda_fp16.h>\n" + program.source;
  EXPECT_THROW(compile(program, Target::parse("80"), DiskCache::none()), Error);
}

TEST_F(CompileTest, CacheHitIsEqualAndFast) {
  const DiskCache cache(folder_);
  const Binary cold = compile(reverse_program(128), Target::parse("80"), cache);
  const auto begin = std::chrono::steady_clock::now();
  const Binary warm = compile(reverse_program(128), Target::parse("80"), cache);
  const double milliseconds = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  EXPECT_FALSE(cold.from_cache);
  EXPECT_TRUE(warm.from_cache);
  EXPECT_EQ(cold.cubin, warm.cubin);
  EXPECT_EQ(cold.kernels.at("reverse").registers, warm.kernels.at("reverse").registers);
  EXPECT_EQ(cold.kernels.at("reverse").static_shared_bytes, warm.kernels.at("reverse").static_shared_bytes);
  EXPECT_LT(milliseconds, 50.0);
}

TEST_F(CompileTest, WhateverChangesTheBinaryChangesTheKey) {
  const DiskCache cache(folder_);
  const Target target = Target::parse("80");
  compile(reverse_program(128), target, cache);
  EXPECT_FALSE(compile(reverse_program(64), target, cache).from_cache) << "header";
  EXPECT_FALSE(compile(reverse_program(128), Target::parse("86"), cache).from_cache) << "target";
  Program other = reverse_program(128);
  other.options = {"-DSCALE=3.0f"};
  EXPECT_FALSE(compile(other, target, cache).from_cache) << "options";
  other = reverse_program(128);
  other.source += "// more\n";
  EXPECT_FALSE(compile(other, target, cache).from_cache) << "source";
  EXPECT_TRUE(compile(reverse_program(128), target, cache).from_cache);
}

TEST_F(CompileTest, ADamagedEntryIsRebuilt) {
  const DiskCache cache(folder_);
  const Binary first = compile(reverse_program(128), Target::parse("80"), cache);
  for (const auto& entry : fs::directory_iterator(folder_)) fs::resize_file(entry.path(), fs::file_size(entry.path()) / 2);
  int warnings = 0;
  const LogTarget target{LogLevel::warning, [&](LogLevel, const std::string&) { ++warnings; }};
  const LogScope scope(target);
  const Binary second = compile(reverse_program(128), Target::parse("80"), cache);
  EXPECT_FALSE(second.from_cache);
  EXPECT_EQ(first.cubin, second.cubin);
  EXPECT_EQ(warnings, 1);
  EXPECT_TRUE(compile(reverse_program(128), Target::parse("80"), cache).from_cache);
}

TEST_F(CompileTest, ProcessesShareTheFolder) {
  std::vector<pid_t> children;
  for (int child = 0; child < 3; ++child) {
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      bool good = true;
      try {
        for (const int size : {32, 64, 128})
          good = good && !compile(reverse_program(size), Target::parse("80"), DiskCache(folder_)).cubin.empty();
      } catch (const std::exception&) {
        good = false;
      }
      ::_exit(good ? 0 : 1);
    }
    children.push_back(pid);
  }
  for (const pid_t pid : children) {
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  for (const int size : {32, 64, 128}) EXPECT_TRUE(compile(reverse_program(size), Target::parse("80"), DiskCache(folder_)).from_cache);
}

TEST_F(CompileTest, ThreadsThatWantTheSameCompileOnce) {
  std::vector<std::jthread> threads;
  std::vector<Binary> binaries(6);
  for (Binary& binary : binaries)
    threads.emplace_back([&binary, this] { binary = compile(reverse_program(96), Target::parse("89"), DiskCache(folder_)); });
  threads.clear();
  for (const Binary& binary : binaries) EXPECT_EQ(binary.cubin, binaries[0].cubin);
}

TEST_F(CompileTest, CompileAllKeepsOrderAndThrowsTheFirstError) {
  std::vector<Program> programs;
  for (const int size : {32, 64, 96, 128, 160}) programs.push_back(reverse_program(size));
  const auto binaries = compile_all(programs, Target::parse("80"), DiskCache::none(), 2);
  ASSERT_EQ(binaries.size(), programs.size());
  for (size_t i = 0; i < programs.size(); ++i)
    EXPECT_EQ(binaries[i].kernels.at("reverse").static_shared_bytes, static_cast<int>(32 * (i + 1) * sizeof(float))) << i;
  programs[1].source = "broken one";
  programs[3].source = "broken two";
  programs[1].name = "first_broken";
  try {
    compile_all(programs, Target::parse("80"), DiskCache::none(), 2);
    FAIL() << "compiled";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("first_broken"), std::string::npos);
  }
}

}  // namespace
}  // namespace fcm::jit
