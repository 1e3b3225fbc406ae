#include "fcm/launch.h"

#include <array>

#include "runtime/device/cuda_check.h"

namespace fcm {
namespace {

// Attributes of a launch; the array outlives the config that points into it.
struct LaunchConfig {
  cudaLaunchConfig_t config{};
  std::array<cudaLaunchAttribute, 2> attributes{};

  LaunchConfig(const LaunchPlan& plan, int64_t grid, cudaStream_t stream, bool pdl) {
    config.gridDim = dim3(static_cast<unsigned>(grid));
    config.blockDim = dim3(static_cast<unsigned>(plan.threads));
    config.dynamicSmemBytes = static_cast<size_t>(plan.shared_bytes);
    config.stream = stream;
    config.attrs = attributes.data();
    if (plan.cluster > 1) {
      cudaLaunchAttribute& cluster = attributes[config.numAttrs++];
      cluster.id = cudaLaunchAttributeClusterDimension;
      cluster.val.clusterDim.x = static_cast<unsigned>(plan.cluster);
      cluster.val.clusterDim.y = 1;
      cluster.val.clusterDim.z = 1;
    }
    if (pdl && plan.pdl) {
      cudaLaunchAttribute& early = attributes[config.numAttrs++];
      early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
      early.val.programmaticStreamSerializationAllowed = 1;
    }
  }
};

int64_t count_resident_blocks(const LaunchPlan& plan, const void* kernel) {
  if (plan.cluster > 1) {
    const LaunchConfig launch(plan, plan.cluster, nullptr, false);
    int clusters = 0;
    cuda_check(cudaOccupancyMaxActiveClusters(&clusters, kernel, &launch.config), "counting a module's resident clusters");
    return int64_t{clusters} * plan.cluster;
  }
  int device = 0;
  int multiprocessors = 0;
  int blocks = 0;
  cuda_check(cudaGetDevice(&device), "cudaGetDevice");
  cuda_check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device), "cudaDeviceGetAttribute");
  cuda_check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel, plan.threads, static_cast<size_t>(plan.shared_bytes)),
             "counting a module's resident blocks");
  return int64_t{blocks} * multiprocessors;
}

}  // namespace

LoadedModule::LoadedModule(const LaunchPlan& plan, const jit::Binary& binary)
    : plan_(plan), module_(binary), kernel_(module_.kernel(plan.kernel)) {
  constexpr int kDefaultSharedBytes = 48 * 1024;
  constexpr int kPortableCluster = 8;
  if (plan.shared_bytes > kDefaultSharedBytes)
    cuda_check(cudaFuncSetAttribute(kernel_, cudaFuncAttributeMaxDynamicSharedMemorySize, plan.shared_bytes),
               "raising a module's shared memory");
  if (plan.cluster > kPortableCluster)
    cuda_check(cudaFuncSetAttribute(kernel_, cudaFuncAttributeNonPortableClusterSizeAllowed, 1), "raising a module's cluster size");
  resident_blocks_ = count_resident_blocks(plan_, kernel_);
}

void LoadedModule::launch(cudaStream_t stream, const ModuleArgs& args, bool pdl) const {
  const LaunchConfig launch(plan_, plan_.grid(args.batch, resident_blocks_), stream, pdl);
  ModuleArgs copy = args;
  void* arguments[] = {&copy};
  cuda_check(cudaLaunchKernelExC(&launch.config, kernel_, arguments), plan_.kernel.c_str());
}

}  // namespace fcm
