// CUDA runtime status codes as exceptions.
#pragma once

#include <cuda_runtime_api.h>

namespace fcm {

/// True for errors after which the CUDA context is unusable (illegal address, launch failure, ECC, ...).
bool is_sticky(cudaError_t status);

/// Throws for anything but success, naming `what` was attempted: Error(out_of_memory), Error(device_lost) for sticky errors, else
/// Error(device). Clears the runtime's last error.
void cuda_check(cudaError_t status, const char* what);

}  // namespace fcm
