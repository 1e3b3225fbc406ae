// Module kernels on the device: a random sweep against the host reference. FCM_SWEEP_COUNT and FCM_SWEEP_SEED choose it, FCM_SWEEP_CASE
// replays one case by its id.
#include <gtest/gtest.h>

#include <cstdlib>

#include "runtime/device/info.h"
#include "tests/modules/device_run.h"

namespace fcm::testing {
namespace {

int variable(const char* name, int fallback) {
  const char* text = std::getenv(name);
  return text == nullptr ? fallback : std::atoi(text);
}

TEST(ModuleSweep, EveryKindMatchesTheReference) {
  std::string reason;
  if (device_count(&reason) == 0) GTEST_SKIP() << reason;
  const jit::Target target = device_info(0).target;
  const int seed = variable("FCM_SWEEP_SEED", 1);
  const char* one = std::getenv("FCM_SWEEP_CASE");
  const std::vector<Case> cases = one != nullptr ? std::vector<Case>{parse_case(one)}
                                                 : random_cases(static_cast<uint32_t>(seed), variable("FCM_SWEEP_COUNT", 1000), target);
  RecordProperty("seed", seed);
  for (const Failure& f : failing_cases(cases, target))
    ADD_FAILURE() << "seed " << seed << ", FCM_SWEEP_CASE='" << to_string(f.which) << "': " << f.why;
}

}  // namespace
}  // namespace fcm::testing
