// Module kernels on the device: a random sweep against the host reference, and what once was wrong. FCM_SWEEP_COUNT and FCM_SWEEP_SEED
// choose the sweep, FCM_SWEEP_CASE replays one case by its id.
#include <gtest/gtest.h>

#include <cstdlib>

#include "fcm/emit.h"
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

// A projection by warpgroups in a rolled loop (more than four of 16 channels a warp): the operands of a step take the registers of the one
// before, which the matrix instructions must have read by then. No random case drew such a tile.
TEST(ModuleSweep, ProjectionsByWarpgroupsInARolledLoopMatchTheReference) {
  std::string reason;
  if (device_count(&reason) == 0) GTEST_SKIP() << reason;
  const jit::Target target = device_info(0).target;
  if (!has_warpgroups(target)) GTEST_SKIP() << "no matrix instructions of warpgroups on sm_" << target.text();
  const std::vector<Case> cases = {
      parse_case("nhwc 147x147 pw/64-128/f16/relu dw3x3s1x1p1.1.1.1/128-128/f16/identity pw/128-128/f16/identity | "
                 "t14x14_c128_n128_x1_w8.1.1_s1_e1.4_r1_b1_wg | batch 1 seed 1"),
      parse_case("nhwc 30x30 dw3x3s1x1p1.1.1.1/128-128/bf16/relu pw/128-64/bf16/relu | t8x8_c128_n64_x1_w4.1.1_s2_e1.1_r1_b1_wg | "
                 "batch 2 seed 2"),
  };
  for (const Failure& f : failing_cases(cases, target)) ADD_FAILURE() << "FCM_SWEEP_CASE='" << to_string(f.which) << "': " << f.why;
}

}  // namespace
}  // namespace fcm::testing
