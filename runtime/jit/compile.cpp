// NVRTC compilation to cubin, behind the disk cache; equal compilations that run at the same time are done once.
#include <fmt/format.h>

#include <cstring>
#include <fstream>
#include <functional>
#include <future>
#include <mutex>

#include "runtime/device/nvrtc.h"
#include "runtime/jit/compile_log.h"
#include "runtime/jit/jit.h"
#include "runtime/jit/sha256.h"
#include "runtime/support/env.h"
#include "runtime/support/error.h"
#include "runtime/support/log.h"
#include "runtime/support/threads.h"

namespace fcm::jit {
namespace {

constexpr const char* kCacheFormat = "cubin 2";

// --no-cache: NVRTC's own cache, used where there is a driver, gives a cubin without ptxas's figures; ours keeps both.
std::vector<std::string> all_options(const Program& program, const Target& target) {
  std::vector<std::string> options = {"--gpu-architecture=sm_" + target.text(), "--std=c++20", "--no-source-include", "--no-cache",
                                      "--ptxas-options=-v"};
  if (!env().jit_keep.empty()) options.emplace_back("--generate-line-info");
  options.insert(options.end(), program.options.begin(), program.options.end());
  return options;
}

std::string cache_key(const Program& program, const Target& target) {
  Sha256 digest;
  digest.update_field(kCacheFormat);
  digest.update_field(nvrtc().identity);
  for (const std::string& option : all_options(program, target)) digest.update_field(option);
  digest.update_field(source_name(program));
  digest.update_field(program.source);
  for (const auto& [name, text] : program.headers) {
    digest.update_field(name);
    digest.update_field(text);
  }
  return digest.hex();
}

// Keeps source and headers, and the cubin once there is one, for the person who works on a kernel.
void keep(const Program& program, const std::string& key, const std::string* cubin) {
  namespace fs = std::filesystem;
  if (env().jit_keep.empty()) return;
  const fs::path folder = fs::path(env().jit_keep) / (program.name + "-" + key.substr(0, 12));
  std::error_code error;
  fs::create_directories(folder, error);
  const auto write = [&](const fs::path& path, const std::string& text) {
    fs::create_directories(path.parent_path(), error);
    if (!(std::ofstream(path, std::ios::binary) << text)) log(LogLevel::warning, "FCM_JIT_KEEP: {} cannot be written", path.string());
  };
  if (cubin != nullptr) return write(folder / "kernel.cubin", *cubin);
  write(folder / source_name(program), program.source);
  for (const auto& [name, text] : program.headers) write(folder / name, text);
}

void check(nvrtcResult result, const char* what) {
  if (result == NVRTC_SUCCESS) return;
  throw Error(result == NVRTC_ERROR_OUT_OF_MEMORY ? ErrorCode::out_of_memory : ErrorCode::device,
              fmt::format("NVRTC {}: {}: {}", nvrtc().version_text, what, nvrtc().get_error_string(result)));
}

class NvrtcProgram {
 public:
  explicit NvrtcProgram(const Program& program) {
    std::vector<const char*> names;
    std::vector<const char*> texts;
    for (const auto& [name, text] : program.headers) {
      names.push_back(name.c_str());
      texts.push_back(text.c_str());
    }
    check(nvrtc().create_program(&handle_, program.source.c_str(), source_name(program).c_str(), static_cast<int>(names.size()),
                                 texts.data(), names.data()),
          "nvrtcCreateProgram");
  }
  ~NvrtcProgram() { nvrtc().destroy_program(&handle_); }
  NvrtcProgram(const NvrtcProgram&) = delete;
  NvrtcProgram& operator=(const NvrtcProgram&) = delete;

  nvrtcResult compile(const std::vector<std::string>& options) const {
    std::vector<const char*> pointers;
    pointers.reserve(options.size());
    for (const std::string& option : options) pointers.push_back(option.c_str());
    return nvrtc().compile_program(handle_, static_cast<int>(pointers.size()), pointers.data());
  }
  std::string log() const {
    size_t size = 0;
    check(nvrtc().get_program_log_size(handle_, &size), "nvrtcGetProgramLogSize");
    std::string text(size, '\0');
    check(nvrtc().get_program_log(handle_, text.data()), "nvrtcGetProgramLog");
    text.resize(std::strlen(text.c_str()));
    return text;
  }
  std::string cubin() const {
    size_t size = 0;
    check(nvrtc().get_cubin_size(handle_, &size), "nvrtcGetCUBINSize");
    std::string image(size, '\0');
    check(nvrtc().get_cubin(handle_, image.data()), "nvrtcGetCUBIN");
    return image;
  }

 private:
  nvrtcProgram handle_ = nullptr;
};

Binary run_compiler(const Program& program, const Target& target) {
  const NvrtcProgram compiler(program);
  const nvrtcResult result = compiler.compile(all_options(program, target));
  const std::string text = compiler.log();
  const std::string remarks = diagnostics(text);
  if (result == NVRTC_ERROR_COMPILATION)
    throw Error(ErrorCode::device, fmt::format("kernel {} does not compile for sm_{}:\n{}{}", program.name, target.text(), remarks,
                                               quoted_lines(program, remarks)));
  check(result, ("compiling " + program.name + " for sm_" + target.text()).c_str());
  if (!remarks.empty()) log(LogLevel::debug, "kernel {}: {}", program.name, remarks);
  return {compiler.cubin(), parse_figures(text), false};
}

// Payload of a cache entry: one line a kernel, an empty line, the cubin.
std::string serialize(const Binary& binary) {
  std::string text;
  for (const auto& [name, f] : binary.kernels)
    text += fmt::format("{} {} {} {} {} {}\n", name, f.registers, f.spill_store_bytes, f.spill_load_bytes, f.stack_bytes,
                        f.static_shared_bytes);
  return text + "\n" + binary.cubin;
}

std::optional<Binary> deserialize(const std::string& payload) {
  Binary binary;
  size_t begin = 0;
  for (size_t end; (end = payload.find('\n', begin)) != std::string::npos; begin = end + 1) {
    if (end == begin) {
      binary.cubin = payload.substr(end + 1);
      binary.from_cache = true;
      return binary;
    }
    std::istringstream line(payload.substr(begin, end - begin));
    std::string name;
    KernelFigures f;
    if (!(line >> name >> f.registers >> f.spill_store_bytes >> f.spill_load_bytes >> f.stack_bytes >> f.static_shared_bytes))
      return std::nullopt;
    binary.kernels.emplace(name, f);
  }
  return std::nullopt;
}

Binary load_or_compile(const Program& program, const Target& target, const DiskCache& cache, const std::string& key) {
  keep(program, key, nullptr);
  if (const auto payload = cache.load(key)) {
    if (auto binary = deserialize(*payload)) return *std::move(binary);
    log(LogLevel::warning, "kernel cache: the entry of {} cannot be read; it is rebuilt", program.name);
  }
  Binary binary = run_compiler(program, target);
  keep(program, key, &binary.cubin);
  cache.store(key, serialize(binary));
  return binary;
}

void report_figures(const Program& program, const Target& target, const Binary& binary) {
  if (!env().jit_verbose) return;
  for (const auto& [name, f] : binary.kernels)
    log(LogLevel::warning, "{} {} sm_{}: {} registers, {} B spilled, {} B stack, {} B static shared, {} B cubin{}", program.name, name,
        target.text(), f.registers, f.spill_store_bytes + f.spill_load_bytes, f.stack_bytes, f.static_shared_bytes, binary.cubin.size(),
        binary.from_cache ? " (cached)" : "");
}

// Compilations that run now, so that a second thread waits for the first one's result.
struct InFlight {
  std::mutex mutex;
  std::map<std::string, std::shared_future<Binary>> running;
};

InFlight& in_flight() {
  static InFlight instance;
  return instance;
}

Binary compile_once(const Program& program, const Target& target, const DiskCache& cache) {
  const std::string key = cache_key(program, target);
  const std::string place = key + " " + cache.folder().string();
  InFlight& table = in_flight();
  std::promise<Binary> promise;
  {
    std::unique_lock lock(table.mutex);
    if (const auto found = table.running.find(place); found != table.running.end()) {
      const std::shared_future<Binary> other = found->second;
      lock.unlock();
      return other.get();
    }
    table.running.emplace(place, promise.get_future().share());
  }
  const auto finish = [&] {
    const std::lock_guard lock(table.mutex);
    table.running.erase(place);
  };
  try {
    Binary binary = load_or_compile(program, target, cache, key);
    promise.set_value(binary);
    finish();
    return binary;
  } catch (...) {
    promise.set_exception(std::current_exception());
    finish();
    throw;
  }
}

}  // namespace

bool compiler_available(std::string* reason) {
  try {
    nvrtc();
    return true;
  } catch (const Error& error) {
    if (reason != nullptr) *reason = error.what();
    return false;
  }
}

std::string compiler_version() {
  return nvrtc().version_text;
}

Binary compile(const Program& program, const Target& target, const DiskCache& cache) {
  Binary binary = compile_once(program, target, env().jit_cache ? cache : DiskCache::none());
  report_figures(program, target, binary);
  return binary;
}

std::vector<Binary> compile_all(const std::vector<Program>& programs, const Target& target, const DiskCache& cache, int threads) {
  std::vector<Binary> binaries(programs.size());
  on_threads(programs.size(), threads, [&](size_t i, size_t) { binaries[i] = compile(programs[i], target, cache); });
  return binaries;
}

}  // namespace fcm::jit
