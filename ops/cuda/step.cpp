// What steps share: handles, packed weights, kernels.
#include "ops/cuda/step.h"

#include <fmt/format.h>

#include <algorithm>

#include "runtime/device/counters.h"
#include "runtime/device/cublaslt.h"
#include "runtime/device/cuda_check.h"
#include "runtime/device/cudnn.h"
#include "runtime/device/stream.h"
#include "runtime/support/error.h"

namespace fcm::ops::cuda {
namespace {

constexpr size_t kAlignment = 256;
constexpr size_t kSharedByDefault = 48 * 1024;  // more must be asked for

uint64_t fnv1a(const std::vector<std::byte>& bytes) {
  uint64_t hash = 0xcbf29ce484222325ULL;
  for (const std::byte b : bytes) hash = (hash ^ static_cast<uint64_t>(b)) * 0x100000001b3ULL;
  return hash;
}

// What makes two programs the same; the headers are the embedded ones for all.
std::string program_text(const jit::Program& program) {
  std::string text = program.name + '\0' + program.source;
  for (const std::string& option : program.options) text += '\0' + option;
  return text;
}

}  // namespace

LibraryHandles::~LibraryHandles() {
  if (cudnn_ != nullptr) fcm::cudnn().destroy(cudnn_);
  if (cublas_lt_ != nullptr) fcm::cublas_lt().destroy(cublas_lt_);
}

cudnnContext* LibraryHandles::cudnn() {
  if (cudnn_ == nullptr) cudnn_check(fcm::cudnn().create(&cudnn_), "cudnnCreate");
  return cudnn_;
}

cublasLtContext* LibraryHandles::cublas_lt() {
  if (cublas_lt_ == nullptr) cublas_check(fcm::cublas_lt().create(&cublas_lt_), "cublasLtCreate");
  return cublas_lt_;
}

size_t WeightStore::add(std::vector<std::byte> bytes) {
  const uint64_t hash = fnv1a(bytes);
  const auto [first, last] = by_hash_.equal_range(hash);
  for (auto it = first; it != last; ++it)
    if (entries_[it->second].bytes == bytes) return entries_[it->second].offset;
  const size_t offset = total_;
  total_ += (bytes.size() + kAlignment - 1) / kAlignment * kAlignment;
  by_hash_.emplace(hash, entries_.size());
  entries_.push_back({offset, std::move(bytes)});
  return offset;
}

void WeightStore::upload(void* base, cudaStream_t stream) {
  std::vector<std::byte> block(total_);
  for (const Entry& entry : entries_)
    std::copy(entry.bytes.begin(), entry.bytes.end(), block.begin() + static_cast<std::ptrdiff_t>(entry.offset));
  copy_async(base, block.data(), block.size(), cudaMemcpyHostToDevice, stream);
  synchronize(stream);
  entries_.clear();
  by_hash_.clear();
}

void Kernel::launch(cudaStream_t stream, dim3 grid, dim3 block, size_t dynamic_shared, void** args, bool programmatic) const {
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.attrs = &overlap;
  config.numAttrs = programmatic ? 1 : 0;
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = dynamic_shared;
  config.stream = stream;
  ++call_counts().launches;
  cuda_check(cudaLaunchKernelExC(&config, function(), args), name_.c_str());
}

void* Kernel::function() const {
  if (function_ == nullptr) throw Error(ErrorCode::internal, "kernel " + name_ + " was not loaded");
  return function_;
}

std::shared_ptr<const Kernel> KernelSet::add(const jit::Program& program, const std::string& kernel, size_t dynamic_shared) {
  const auto [place, is_new] = index_.emplace(program_text(program), programs_.size());
  if (is_new) {
    programs_.push_back(program);
    kernels_.emplace_back();
  }
  std::shared_ptr<Kernel>& slot = kernels_[place->second][kernel];
  if (!slot) {
    slot = std::make_shared<Kernel>();
    slot->name_ = kernel;
  }
  slot->dynamic_shared_ = std::max(slot->dynamic_shared_, dynamic_shared);
  return slot;
}

void KernelSet::compile(const jit::Target& target, const jit::DiskCache& cache, int threads, const Progress& progress) {
  // In portions, so that progress can be told between them.
  const size_t portion = 16;
  while (binaries_.size() < programs_.size()) {
    const size_t begin = binaries_.size();
    const size_t end = std::min(programs_.size(), begin + portion);
    const std::vector<jit::Program> part(programs_.begin() + static_cast<std::ptrdiff_t>(begin),
                                         programs_.begin() + static_cast<std::ptrdiff_t>(end));
    for (jit::Binary& binary : jit::compile_all(part, target, cache, threads)) binaries_.push_back(std::move(binary));
    if (progress) progress(static_cast<double>(end) / static_cast<double>(programs_.size()));
  }
}

void KernelSet::load() {
  for (size_t i = modules_.size(); i < binaries_.size(); ++i) {
    modules_.push_back(std::make_shared<jit::Module>(binaries_[i]));
    for (auto& [name, kernel] : kernels_[i]) {
      kernel->module_ = modules_.back();
      kernel->function_ = modules_.back()->kernel(name);
      if (kernel->dynamic_shared_ > kSharedByDefault)
        cuda_check(
            cudaFuncSetAttribute(kernel->function_, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(kernel->dynamic_shared_)),
            name.c_str());
    }
  }
}

size_t Step::workspace_bytes(int64_t /*max_batch*/, LibraryHandles& /*handles*/) const {
  return 0;
}

int Step::candidates(int64_t /*batch*/, LibraryHandles& /*handles*/) const {
  return 1;
}

}  // namespace fcm::ops::cuda
