// What the CUDA backend tells the planner. Needs neither a device nor CUDA, so that plans for a card that is elsewhere have the same steps.
#pragma once

#include <string>

#include "planner/plan.h"
#include "runtime/device/info.h"

namespace fcm {

/// The rules of the CUDA operators, for plans that run on `device`.
PlanBackend cuda_backend(const DeviceInfo& device);
/// The same for a device that is known by a text only.
PlanBackend cuda_backend(std::string device_model);

}  // namespace fcm
