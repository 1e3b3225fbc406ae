// Running a built program, and small models and images to run it on.
#include "tests/apps/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <poll.h>
#include <pty.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <fstream>

#include "runtime/image/npy.h"

namespace fcm::test {
namespace {

// In the child: what the program inherits.
void restrict_child(const RunOptions& options) {
  if (options.file_size_limit > 0) {
    static_cast<void>(std::signal(SIGXFSZ, SIG_IGN));  // the write then fails with EFBIG
    const rlimit limit = {options.file_size_limit, options.file_size_limit};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  if (options.ordinary_rights) {
    for (const int capability : {CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH}) ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  }
}

[[noreturn]] void execute(const std::string& program, const std::vector<std::string>& arguments, const RunOptions& options) {
  restrict_child(options);
  for (const std::string& entry : options.environment) {
    const size_t equals = entry.find('=');
    ::setenv(entry.substr(0, equals).c_str(), entry.substr(equals + 1).c_str(), 1);
  }
  std::vector<std::string> copies = {program};
  copies.insert(copies.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& copy : copies) argv.push_back(copy.data());
  argv.push_back(nullptr);
  ::execv(program.c_str(), argv.data());
  ::_exit(127);
}

/// Reads both until both end; -1 stands for none.
void drain(std::array<int, 2> descriptors, std::array<std::string*, 2> texts) {
  std::array<pollfd, 2> polls = {{{descriptors[0], POLLIN, 0}, {descriptors[1], POLLIN, 0}}};
  while (polls[0].fd >= 0 || polls[1].fd >= 0) {
    if (::poll(polls.data(), polls.size(), -1) < 0) return;
    for (size_t i = 0; i < polls.size(); ++i) {
      if (polls[i].fd < 0 || polls[i].revents == 0) continue;
      std::array<char, 4096> buffer = {};
      const ssize_t n = ::read(polls[i].fd, buffer.data(), buffer.size());  // a closed terminal answers with an error
      if (n > 0) texts[i]->append(buffer.data(), static_cast<size_t>(n));
      if (n > 0) continue;
      ::close(polls[i].fd);
      polls[i].fd = -1;
    }
  }
}

Outcome collect(pid_t child, std::array<int, 2> descriptors) {
  Outcome run;
  drain(descriptors, {&run.out, &run.err});
  int status = 0;
  ::waitpid(child, &status, 0);
  run.code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  return run;
}

void little_endian(std::string& bytes, uint32_t value, int size) {
  for (int i = 0; i < size; ++i) bytes += static_cast<char>(value >> (8 * i));
}

}  // namespace

Outcome infer(const std::vector<std::string>& arguments, const RunOptions& options) {
  return run(FCM_INFER, arguments, options);
}

Outcome run(const std::string& program, const std::vector<std::string>& arguments, const RunOptions& options) {
  if (options.terminal) {
    int terminal = -1;
    const pid_t child = ::forkpty(&terminal, nullptr, nullptr, nullptr);
    if (child == 0) execute(program, arguments, options);
    return collect(child, {terminal, -1});
  }
  std::array<int, 2> out = {};
  std::array<int, 2> err = {};
  if (::pipe2(out.data(), O_CLOEXEC) != 0 || ::pipe2(err.data(), O_CLOEXEC) != 0) ADD_FAILURE() << "no pipe";
  const pid_t child = ::fork();
  if (child == 0) {
    const int target = options.stdout_path.empty() ? out[1] : ::open(options.stdout_path.c_str(), O_WRONLY);
    ::dup2(target, 1);
    ::dup2(err[1], 2);
    execute(program, arguments, options);
  }
  ::close(out[1]);
  ::close(err[1]);
  return collect(child, {out[0], err[0]});
}

Folder::Folder() {
  std::string pattern = (std::filesystem::temp_directory_path() / "fcm-apps-XXXXXX").string();
  path_ = ::mkdtemp(pattern.data());
}

Folder::~Folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string Folder::write(const std::string& name, const std::string& bytes) const {
  std::filesystem::create_directories(std::filesystem::path(path(name)).parent_path());
  std::ofstream(path(name), std::ios::binary) << bytes;
  return path(name);
}

std::string Folder::image(const std::string& name, int width, int height, uint8_t red, uint8_t green, uint8_t blue) const {
  const auto row = static_cast<uint32_t>((width * 3 + 3) / 4 * 4);
  const uint32_t size = row * static_cast<uint32_t>(height);
  std::string bytes = "BM";
  for (const uint32_t value : {54 + size, 0U, 54U, 40U, static_cast<uint32_t>(width), static_cast<uint32_t>(height)})
    little_endian(bytes, value, 4);
  little_endian(bytes, 1, 2);
  little_endian(bytes, 24, 2);
  for (const uint32_t value : {0U, size, 0U, 0U, 0U, 0U}) little_endian(bytes, value, 4);
  std::string line;
  for (int x = 0; x < width; ++x) line += {static_cast<char>(blue), static_cast<char>(green), static_cast<char>(red)};
  line.resize(row);
  for (int y = 0; y < height; ++y) bytes += line;
  return write(name, bytes);
}

std::string Folder::npy(const std::string& name, const Dims& dims, const std::vector<float>& values) const {
  std::filesystem::create_directories(std::filesystem::path(path(name)).parent_path());
  save_npy(Tensor::floats(dims, values), path(name));
  return path(name);
}

std::string Folder::colour_model(const std::string& name) const {
  testing::ModelBuilder builder;
  builder.input("x", {"N", 3, 4, 4})
      .node("GlobalAveragePool", {"x"}, {"pooled"})
      .node("Flatten", {"pooled"}, {"mean"})
      .output("mean")
      .metadata("fcm.labels", "red\ngreen\nblue\n")
      .metadata("fcm.preprocess", R"({"preset": "raw"})");
  return model(name, builder);
}

}  // namespace fcm::test
