// Launch attributes: shared memory, clusters, programmatic stream serialisation.
#include "fcm/launch.h"

#include <cuda_runtime_api.h>

#include <array>

#include "runtime/device/cuda_check.h"

namespace fcm {

ModuleKernel::ModuleKernel(const jit::Binary& binary, const LaunchPlan& plan)
    : module_(binary), plan_(plan), kernel_(module_.kernel(plan.kernel)) {
  cuda_check(cudaFuncSetAttribute(kernel_, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes(false)),
             "module kernel: shared memory");
  // A multiprocessor divides its memory between L1 and shared memory anew only when it is idle: kernels that ask for different divisions
  // could not overlap.
  cuda_check(cudaFuncSetAttribute(kernel_, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared),
             "module kernel: shared memory carve-out");
  if (plan.cluster > 8)
    cuda_check(cudaFuncSetAttribute(kernel_, cudaFuncAttributeNonPortableClusterSizeAllowed, 1),
               "module kernel: cluster of more than 8 blocks");
  int device = 0, processors = 0, blocks = 0;
  cuda_check(cudaGetDevice(&device), "current device");
  cuda_check(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device), "multiprocessor count");
  cuda_check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, kernel_, plan.threads, static_cast<size_t>(shared_bytes(false))),
             "module kernel: occupancy");
  resident_blocks_ = int64_t{processors} * blocks;
}

void ModuleKernel::launch(const ModuleArgs& args, void* stream, bool programmatic, bool shares_device) const {
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(grid(args.batch)));
  config.blockDim = dim3(static_cast<unsigned>(plan_.threads));
  config.dynamicSmemBytes = static_cast<size_t>(shared_bytes(shares_device));
  config.stream = static_cast<cudaStream_t>(stream);
  std::array<cudaLaunchAttribute, 2> attributes{};
  unsigned count = 0;
  if (plan_.cluster > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count].val.clusterDim.x = static_cast<unsigned>(plan_.cluster);
    attributes[count].val.clusterDim.y = attributes[count].val.clusterDim.z = 1;
    ++count;
  }
  if (programmatic && plan_.pdl) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count].val.programmaticStreamSerializationAllowed = 1;
    ++count;
  }
  config.attrs = attributes.data();
  config.numAttrs = count;
  ModuleArgs copy = args;
  std::array<void*, 1> pointers = {&copy};
  cuda_check(cudaLaunchKernelExC(&config, kernel_, pointers.data()), "module kernel: launch");
}

}  // namespace fcm
