// Run-time compilation of CUDA kernels: a source text and its headers go in, a loaded kernel comes out.
// Compiling needs NVRTC but no GPU; loading needs a GPU. Sees no graph and no module: callers bring source text.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace fcm::jit {

/// A program to compile. `headers` are the include files by the name used in #include; no other header is visible.
struct Program {
  std::string name;                            ///< for logs, file names and error messages; need not be unique
  std::string source;                          ///< CUDA C++; kernels are extern "C"
  std::map<std::string, std::string> headers;  ///< include name -> text
  std::vector<std::string> options;            ///< extra NVRTC options (-D...)
};

/// A compute target: "75", "80", "86", "87", "89", "90a", "100", "120".
struct Target {
  int major = 0;
  int minor = 0;
  bool arch_specific = false;  ///< the "a" of sm_90a

  static Target parse(const std::string& text);  ///< "90a"; throws Error(command_line)
  std::string text() const;                      ///< "90a"
  friend bool operator==(const Target&, const Target&) = default;
};

/// What ptxas reported for one kernel.
struct KernelFigures {
  int registers = 0;
  int spill_store_bytes = 0;
  int spill_load_bytes = 0;
  int stack_bytes = 0;
  int static_shared_bytes = 0;
};

/// A compiled program.
struct Binary {
  std::string cubin;                             ///< ELF image for exactly one target
  std::map<std::string, KernelFigures> kernels;  ///< by kernel name
  bool from_cache = false;
};

/// True when NVRTC can be opened; otherwise `reason` says what was tried.
bool compiler_available(std::string* reason = nullptr);
/// "13.0"; throws Error(device) when NVRTC is missing.
std::string compiler_version();

/// The on-disk cache of compiled binaries. Key: digest of source, all headers, options, target, NVRTC version and the cache's
/// format. Safe with several processes: an entry is written under a temporary name, synced and renamed; the loser of a race uses
/// the winner's entry. A damaged entry is rebuilt with a warning; an unusable folder only costs time (one warning a process).
class DiskCache {
 public:
  /// `$FCM_CACHE_DIR`, else `$XDG_CACHE_HOME/fcm`, else `~/.cache/fcm`; no folder when none of them is usable.
  static DiskCache standard();
  /// No caching at all.
  static DiskCache none();
  explicit DiskCache(std::filesystem::path folder);

  /// The entry for `key`, or nothing. Never throws for a bad entry.
  std::optional<std::string> load(const std::string& key) const;
  /// Publishes atomically; failures are logged, not thrown.
  void store(const std::string& key, const std::string& payload) const;

  const std::filesystem::path& folder() const { return folder_; }

 private:
  std::filesystem::path folder_;  // empty: disabled
};

/// Compiles, or takes the result from the cache. Thread-safe. Throws Error(device) with the compiler's log and the numbered source
/// lines it names. `FCM_JIT_KEEP=DIR` keeps the generated source and headers, `FCM_JIT_CACHE=0` bypasses the cache,
/// `FCM_JIT_VERBOSE=1` logs ptxas' figures.
Binary compile(const Program& program, const Target& target, const DiskCache& cache);
/// Several programs on up to `threads` threads (0: all cores); results in order; the first error is thrown after all have ended.
std::vector<Binary> compile_all(const std::vector<Program>& programs, const Target& target, const DiskCache& cache, int threads = 0);

/// A binary loaded into the CUDA runtime (cudaLibraryLoadData); unloads on destruction. Not bound to one device.
class Module {
 public:
  explicit Module(const Binary& binary);
  ~Module();
  Module(Module&&) noexcept;
  Module& operator=(Module&&) noexcept;

  /// cudaKernel_t of an extern "C" kernel, as an opaque pointer so that this header needs no CUDA. Throws Error(device).
  void* kernel(const std::string& name) const;

 private:
  void* library_ = nullptr;  // cudaLibrary_t
};

}  // namespace fcm::jit
