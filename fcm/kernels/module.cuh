// The body of every module kernel: one of three skeletons.
#pragma once

#include "fcm/kernels/product.cuh"
#include "fcm/kernels/relay.cuh"

namespace fcm::kernel {

/// What the kernel that emit names runs.
template <class Cfg>
FCM_DEVICE void run_module(const ModuleArgs& args) {
  extern __shared__ __align__(1024) unsigned char module_shared[];
  if constexpr (Of<Cfg>::G.product) {
    Product<Cfg> block{args, module_shared};
    block.run();
  } else if constexpr (Of<Cfg>::S.team > 0) {
    Relay<Cfg> block{{args, module_shared}};
    block.run();
  } else {
    Block<Cfg> block{args, module_shared};
    block.run();
  }
}

}  // namespace fcm::kernel
