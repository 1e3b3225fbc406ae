#include "apps/fcm-bench/profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>

#include "apps/common/stats.h"
#include "apps/fcm-bench/cupti.h"
#include "runtime/support/error.h"

namespace fcm::bench {
namespace {

constexpr int kPasses = 15, kCpuPasses = 3, kReplays = 50;

// What a pass over the steps tells; filled by the callback of Runner::trace.
struct Pass {
  std::vector<ProfileRow>* rows = nullptr;  // filled in the first pass
  ActivityTrace* activity = nullptr;        // null: the host's clock
  std::vector<double> starts_us;            // host's clock
};

double now_us() {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void before_step(void* user, const fcm_step* step) {
  Pass& pass = *static_cast<Pass*>(user);
  pass.starts_us.push_back(now_us());
  if (step == nullptr) return;
  if (pass.activity != nullptr) pass.activity->begin_step(step->index);
  if (pass.rows == nullptr) return;
  ProfileRow row;
  row.name = step->name;
  row.kind = step->kind;
  row.text = step->text;
  row.bytes = step->bytes;
  row.predicted_us = step->predicted_us;
  row.predicted_l2_bytes = step->predicted_l2_bytes;
  row.predicted_dram_bytes = step->predicted_dram_bytes;
  pass.rows->push_back(std::move(row));
}

std::vector<ProfileRow> list_steps(Runner& runner) {
  std::vector<ProfileRow> rows;
  Pass pass;
  pass.rows = &rows;
  runner.trace(before_step, &pass);
  return rows;
}

void set_medians(Profile& profile, const std::vector<std::vector<double>>& times) {
  for (size_t i = 0; i < profile.rows.size(); ++i) {
    profile.rows[i].us = apps::median_of(times[i]);
    profile.sum_us += profile.rows[i].us;
  }
}

void time_on_host(Runner& runner, Profile& profile) {
  profile.method = "the host's clock around each operator";
  std::vector<std::vector<double>> times(profile.rows.size());
  for (int p = 0; p < kCpuPasses; ++p) {
    Pass pass;
    runner.trace(before_step, &pass);
    for (size_t i = 0; i < times.size(); ++i) times[i].push_back(pass.starts_us[i + 1] - pass.starts_us[i]);
  }
  set_medians(profile, times);
}

void time_kernels(Runner& runner, ActivityTrace& activity, Profile& profile) {
  profile.method = "CUPTI kernel records; steps launched one by one, without programmatic overlap";
  std::vector<std::vector<double>> times(profile.rows.size());
  for (int p = 0; p < kPasses; ++p) {
    Pass pass;
    pass.activity = &activity;
    runner.trace(before_step, &pass);
    const std::vector<StepActivity> steps = activity.end_steps(profile.rows.size());
    for (size_t i = 0; i < steps.size(); ++i) {
      times[i].push_back(steps[i].us);
      profile.rows[i].kernels = steps[i].kernels;
      profile.rows[i].kernel_names = steps[i].names;
    }
  }
  set_medians(profile, times);
}

// Microseconds between events around what `enqueue` puts on the stream, handed over while the device is still busy.
double held_us(Gpu& gpu, const std::function<void()>& enqueue) {
  constexpr double kHandOverUs = 100;
  gpu.hold(kHandOverUs);
  gpu.mark(0);
  enqueue();
  gpu.mark(1);
  gpu.wait(1);
  return gpu.between_us(0, 1);
}

Profile::Whole time_whole(const MakeRunner& make, ActivityTrace& activity) {
  std::vector<double> events, trivial_events;
  activity.begin_graphs();
  {
    const std::unique_ptr<Runner> seen = make();  // captured while CUPTI watches
    Gpu& gpu = *seen->gpu();
    for (int i = 0; i < kReplays; ++i) {
      events.push_back(held_us(gpu, [&] { seen->enqueue(); }));
      trivial_events.push_back(held_us(gpu, [&] { gpu.replay_trivial(); }));
    }
  }
  const std::vector<double> graphs = activity.end_graphs();  // in turn: a run, a trivial one
  if (graphs.size() != 2 * kReplays)
    throw Error(ErrorCode::device, fmt::format("CUPTI recorded {} graphs of {}", graphs.size(), 2 * kReplays));
  std::vector<double> records, trivial_records;
  for (size_t i = 0; i < graphs.size(); ++i) (i % 2 == 0 ? records : trivial_records).push_back(graphs[i]);
  Profile::Whole whole;
  whole.record_us = apps::median_of(records);
  whole.events_us = apps::median_of(events);
  whole.launch_us = apps::median_of(trivial_events) - apps::median_of(trivial_records);
  return whole;
}

void set_bounds(const DeviceModel& device, std::vector<ProfileRow>& rows) {
  constexpr double kBytesPerUs = 1000;  // of one GB/s
  for (ProfileRow& row : rows) {
    const double l2_bytes = row.predicted_l2_bytes > 0 ? row.predicted_l2_bytes : row.bytes;
    const double l2_us = l2_bytes / (device.l2_gbps * kBytesPerUs);
    const double dram_us = row.predicted_dram_bytes / (device.dram_gbps * kBytesPerUs);
    row.bound_us = std::max(l2_us, dram_us);
    row.bound_by = dram_us > l2_us ? "DRAM" : "L2";
  }
}

}  // namespace

Profile profile_steps(const MakeRunner& make, const DeviceModel* device) {
  Profile profile;
  if (device == nullptr) {
    const std::unique_ptr<Runner> runner = make();
    profile.rows = list_steps(*runner);
    time_on_host(*runner, profile);
    return profile;
  }
  const std::unique_ptr<ActivityTrace> activity = open_activity_trace(profile.unavailable);
  if (activity == nullptr) return profile;
  const std::unique_ptr<Runner> runner = make();
  profile.rows = list_steps(*runner);
  set_bounds(*device, profile.rows);
  try {
    time_kernels(*runner, *activity, profile);
    profile.whole = time_whole(make, *activity);
  } catch (const std::runtime_error& e) {  // of CUPTI; ours or, through the callback, of the C API
    profile.unavailable = e.what();
  }
  return profile;
}

}  // namespace fcm::bench
