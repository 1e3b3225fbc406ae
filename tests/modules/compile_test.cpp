// Compiles module kernels with NVRTC for every target (no device needed) and checks what ptxas reports: registers within the launch
// bound, no spills, no static shared memory. FCM_COMPILE_CASES sets how many random cases a target gets beside one of each kind and dtype.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "fcm/emit.h"
#include "fcm/head.h"
#include "runtime/jit/jit.h"
#include "tests/modules/cases.h"

namespace fcm {
namespace {

using testing::Random;

bool moves_registers(const testing::Case& c) {
  return c.tile.team > 0 && geometry::gained_registers(shape_of(c.spec, c.tile), register_limit(c.tile)) > 0;
}

std::vector<testing::Case> one_of_each(const jit::Target& target) {
  std::map<std::string, testing::Case> chosen;
  Random random(11);
  for (int i = 0; i < 6000; ++i) {
    testing::Case c;
    c.spec = testing::random_spec(random);
    std::string key =
        std::string(kind_name(kind_of(c.spec))) + " " + std::string(dtype_name(dtype_of(c.spec))) + (c.spec.tf32 ? "/tf32" : "");
    if (c.spec.norm != geometry::Norm::none && c.spec.stages.back().op == StageOp::pw && dtype_of(c.spec) != DType::bf16) key += " norm";
    if (chosen.contains(key) || !refusal(c.spec, target).empty() || !testing::random_tile(random, c.spec, target, c.tile)) continue;
    chosen[key] = c;
  }
  Random wide(13);
  for (int i = 0; i < 2000; ++i) {
    testing::Case c;
    c.spec = testing::random_spec(wide);
    const ModuleKind kind = kind_of(c.spec);
    const bool product = kind == ModuleKind::pw && !c.spec.gate && c.spec.pool == geometry::Pool::none && dtype_of(c.spec) == DType::f16;
    const bool streams = product || kind == ModuleKind::pwdw || kind == ModuleKind::pwpw || kind == ModuleKind::pwdwpw;
    const bool excluded = dtype_of(c.spec) == DType::bf16 || c.spec.tf32 || (c.spec.norm != geometry::Norm::none && !product) ||
                          !refusal(c.spec, target).empty();
    std::string key = std::string(kind_name(kind)) + " " + std::string(dtype_name(dtype_of(c.spec))) + " streamed";
    if (product) key += fmt::format(" {} {}", static_cast<int>(c.spec.residual), c.spec.norm != geometry::Norm::none);
    if (!streams || excluded || chosen.contains(key) || !testing::random_wide_tile(wide, c.spec, target, true, c.tile)) continue;
    chosen[key] = c;
  }
  for (int i = 0; i < 2000; ++i) {
    testing::Case c;
    c.spec = testing::random_spec(wide);
    if (!refusal(c.spec, target).empty() || !testing::random_team_tile(wide, c.spec, target, c.tile)) continue;
    const bool moves = moves_registers(c);
    const std::string key =
        fmt::format("{} {} team{}", kind_name(kind_of(c.spec)), dtype_name(dtype_of(c.spec)), moves ? " that gains registers" : "");
    if (chosen.contains(key)) continue;
    chosen[key] = c;
  }
  std::vector<testing::Case> cases;
  for (const auto& [key, c] : chosen) cases.push_back(c);
  return cases;
}

class Compile : public ::testing::TestWithParam<const char*> {};

TEST_P(Compile, EveryKindAndDtypeWithinItsRegisters) {
  std::string reason;
  if (!jit::compiler_available(&reason)) GTEST_SKIP() << reason;
  const jit::Target target = jit::Target::parse(GetParam());
  const std::vector<testing::Case> cases = one_of_each(target);
  EXPECT_GE(cases.size(), target.major < 8 ? 30u : 50u);
  std::vector<jit::Program> programs;
  for (const testing::Case& c : cases) programs.push_back(emit(c.spec, c.tile, target).program);
  const std::vector<jit::Binary> binaries = jit::compile_all(programs, target, jit::DiskCache::standard(), 2);
  for (size_t i = 0; i < cases.size(); ++i) {
    const LaunchPlan plan = emit(cases[i].spec, cases[i].tile, target).launch;
    const jit::KernelFigures f = binaries[i].kernels.at(plan.kernel);
    // At times ptxas parks a few registers although it uses far fewer than it may: not register pressure.
    const bool head = is_head(cases[i].spec);
    const bool roomy = head ? f.registers <= 64 : f.registers + 32 <= register_limit(cases[i].tile);
    EXPECT_LE(f.spill_store_bytes + f.spill_load_bytes, !roomy ? 0 : head ? 32 : 64) << to_string(cases[i]);
    EXPECT_LE(f.registers * plan.threads, 65536) << to_string(cases[i]);
    // What a team gains, other warps give up: a kernel that began with fewer would wait for registers for ever.
    if (moves_registers(cases[i])) {
      EXPECT_EQ(f.registers, register_limit(cases[i].tile)) << to_string(cases[i]);
    }
    EXPECT_EQ(f.static_shared_bytes, 0) << to_string(cases[i]);
    EXPECT_LE(plan.shared_bytes, shared_limit(target)) << to_string(cases[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Compile, ::testing::Values("75", "80", "86", "87", "89", "90a", "100", "120"),
                         [](const auto& tested) { return std::string("sm_") + tested.param; });

}  // namespace
}  // namespace fcm
