// The disk cache: publication, damage, races between processes, folders that cannot be written.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "runtime/jit/jit.h"
#include "runtime/support/log.h"

namespace fcm::jit {
namespace {

namespace fs = std::filesystem;

class CacheTest : public ::testing::Test {
 protected:
  CacheTest() {
    std::string name = (fs::temp_directory_path() / "fcm-cache-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
  }
  ~CacheTest() override {
    ::chmod(folder_.c_str(), 0755);
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
  }
  fs::path only_file() const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(folder_)) files.push_back(entry.path());
    EXPECT_EQ(files.size(), 1U);
    return files.empty() ? fs::path() : files[0];
  }
  fs::path folder_;
};

std::string read_file(const fs::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

TEST_F(CacheTest, StoresAndLoads) {
  const DiskCache cache(folder_ / "deep" / "er");
  const std::string payload("with\0zero\nand lines", 19);
  EXPECT_FALSE(cache.load("key"));
  cache.store("key", payload);
  EXPECT_EQ(cache.load("key"), payload);
  EXPECT_FALSE(cache.load("other"));
  cache.store("empty", "");
  EXPECT_EQ(cache.load("empty"), "");
}

TEST_F(CacheTest, EveryDamageIsNoticed) {
  const DiskCache cache(folder_);
  cache.store("key", "payload of some length");
  const fs::path file = only_file();
  const std::string whole = read_file(file);
  std::vector<std::string> messages;
  const LogTarget target{LogLevel::warning, [&](LogLevel, const std::string& message) { messages.push_back(message); }};
  const LogScope scope(target);
  for (size_t i = 0; i <= whole.size(); ++i) {
    std::string damaged = i < whole.size() ? whole : whole + "x";
    if (i < whole.size()) damaged[i] = static_cast<char>(damaged[i] ^ 1);
    std::ofstream(file, std::ios::binary) << damaged;
    EXPECT_FALSE(cache.load("key")) << "byte " << i;
    std::ofstream(file, std::ios::binary) << whole.substr(0, i == whole.size() ? 0 : i);
    EXPECT_FALSE(cache.load("key")) << "cut at " << i;
  }
  ASSERT_FALSE(messages.empty());
  EXPECT_NE(messages[0].find(file.string()), std::string::npos);
  cache.store("key", "payload of some length");
  EXPECT_EQ(cache.load("key"), "payload of some length");
}

TEST_F(CacheTest, DisabledCacheKeepsNothing) {
  const DiskCache cache = DiskCache::none();
  cache.store("key", "payload");
  EXPECT_FALSE(cache.load("key"));
}

TEST_F(CacheTest, UnusableFolderWarnsOnce) {
  std::ofstream(folder_ / "file") << "x";
  const DiskCache cache(folder_ / "file" / "below");
  int warnings = 0;
  const LogTarget target{LogLevel::warning, [&](LogLevel, const std::string&) { ++warnings; }};
  const LogScope scope(target);
  cache.store("a", "payload");
  cache.store("b", "payload");
  EXPECT_FALSE(cache.load("a"));
  EXPECT_EQ(warnings, 1);
}

TEST_F(CacheTest, ReadOnlyFolderWarnsAndStillLoads) {
  if (::geteuid() == 0) GTEST_SKIP() << "root writes into read-only folders";
  const DiskCache cache(folder_);
  cache.store("old", "payload");
  ::chmod(folder_.c_str(), 0555);
  int warnings = 0;
  const LogTarget target{LogLevel::warning, [&](LogLevel, const std::string&) { ++warnings; }};
  const LogScope scope(target);
  cache.store("new", "payload");
  EXPECT_EQ(warnings, 1);
  EXPECT_EQ(cache.load("old"), "payload");
  EXPECT_FALSE(cache.load("new"));
}

// Several processes write and read the same keys; a reader sees nothing or a whole entry.
TEST_F(CacheTest, ProcessesRaceWithoutTornEntries) {
  const DiskCache cache(folder_);
  std::vector<pid_t> children;
  for (int child = 0; child < 4; ++child) {
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      bool good = true;
      for (int round = 0; round < 40; ++round) {
        const std::string key = "key" + std::to_string(round % 5);
        const std::string payload(static_cast<size_t>(5000 + 1000 * (round % 5)), static_cast<char>('a' + round % 5));
        cache.store(key, payload);
        const auto loaded = cache.load(key);
        good = good && loaded == payload;
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
  size_t files = 0;
  for (const auto& entry : fs::directory_iterator(folder_)) {
    ++files;
    EXPECT_EQ(entry.path().extension(), ".bin");
  }
  EXPECT_EQ(files, 5U);
}

}  // namespace
}  // namespace fcm::jit
