// fcm-module-sweep: random module cases against the host reference on the current device, replay of one case by its id, proof of the
// launch protocol, and timing of the candidate tiles of listed specs. A plain program so that it runs under compute-sanitizer.
//
//   fcm-module-sweep [--count 1000] [--seed 1]            random cases (--kind PW: of that kind alone); failures print their ids
//   fcm-module-sweep --case "SPEC | TILE | batch 2 seed 7"
//   fcm-module-sweep --known h200 [--kind PWDW]            every tile that a card's known kernels name, at its number of images
//   fcm-module-sweep --known h200 --compile-for h200       only compiles these into the kernel cache, for a card that need not be here
//   fcm-module-sweep --replays 10000 [--count 8]           random spins around the wait: every replay bit-equal to a run without overlap
//   fcm-module-sweep --time FILE --batch 1 [--top 24]      lines of FILE are specs: candidates timed in a graph, best first; tiles behind
//                                                          a " | " are timed in place of the candidates
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>

#include "fcm/emit.h"
#include "planner/device_model.h"
#include "planner/known_kernels.h"
#include "runtime/device/cuda_check.h"
#include "runtime/device/info.h"
#include "runtime/device/stream.h"
#include "tests/modules/all_tiles.h"
#include "tests/modules/device_run.h"

namespace fcm::testing {
namespace {

using Options = std::map<std::string, std::string>;

std::string option(const Options& options, const std::string& name, const std::string& fallback) {
  const auto at = options.find(name);
  return at == options.end() ? fallback : at->second;
}
int number(const Options& options, const std::string& name, int fallback) {
  return std::atoi(option(options, name, std::to_string(fallback)).c_str());
}

int run_cases(const std::vector<Case>& cases, const jit::Target& target) {
  const std::vector<Failure> failures = failing_cases(cases, target);
  std::map<std::string, int> by_kind;
  for (const Case& c : cases) ++by_kind[std::string(kind_name(kind_of(c.spec)))];
  for (const auto& [kind, count] : by_kind) fmt::print("{:9} {:5}\n", kind, count);
  for (size_t i = 0; i < failures.size() && i < 40; ++i) fmt::print("FAIL {}\n     {}\n", to_string(failures[i].which), failures[i].why);
  fmt::print("{} cases, {} failures\n", cases.size(), failures.size());
  return failures.empty() ? 0 : 1;
}

/// One case a kernel of a card's known ones. References are of few images, which are repeated up to the number that the kernel serves.
std::vector<Case> known_cases(const Options& options) {
  const std::string card = options.at("known"), kind = option(options, "kind", "");
  const DeviceModel model = device_model(card);
  if (model.kernels == nullptr) throw std::runtime_error("no known kernels of " + card);
  std::map<std::string, Case> cases;  // by text: in an order that repeats
  model.kernels->for_each([&](const ModuleSpec& spec, int64_t images, const KnownKernels::Kernel& kernel) {
    if (!kind.empty() && kind_name(kind_of(spec)) != kind) return;
    const int pixels = spec.height * spec.width, all = static_cast<int>(images);
    const int batch = std::min(all, pixels == 1 ? 67 : pixels < 3136 ? 2 : 1);
    const Case c{spec, kernel.tile, batch, 1, all / batch};
    cases.emplace(to_string(c), c);
  });
  std::vector<Case> list;
  for (auto& [text, c] : cases) {
    if (const std::string why = refusal(c.spec, c.tile, model.target); why.empty()) {
      list.push_back(std::move(c));
    } else {
      fmt::print("left out: {}: {}\n", text, why);  // as the planner leaves it
    }
  }
  return list;
}

GraphExec capture(cudaStream_t stream, const std::function<void()>& work) {
  cudaGraph_t graph = nullptr;
  cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  work();
  cuda_check(cudaStreamEndCapture(stream, &graph), "capture");
  GraphExec exec(graph);
  cudaGraphDestroy(graph);
  return exec;
}

double median_us(const GraphExec& graph, cudaStream_t stream, int launches) {
  std::vector<double> rounds;
  for (int r = 0; r < 7; ++r) {
    const Event begin(true), end(true);
    begin.record(stream);
    for (int i = 0; i < launches; ++i) graph.launch(stream);
    end.record(stream);
    cuda_check(cudaEventSynchronize(end.get()), "timing");
    rounds.push_back(elapsed_us(begin, end) / launches);
  }
  std::sort(rounds.begin(), rounds.end());
  return rounds[rounds.size() / 2];
}

/// Chains of one module feeding itself where shapes allow (else repeated), overlapped and jittered, against a plain launch.
int run_replays(const std::vector<Case>& cases, const jit::Target& target, int replays) {
  const std::vector<jit::Binary> binaries = compile_cases(cases, target, true);
  const Stream stream;
  int failures = 0;
  for (size_t i = 0; i < cases.size(); ++i) {
    const Case& c = cases[i];
    const ModuleKernel kernel(binaries[i], emit(c.spec, c.tile, target, true).launch);
    const Operands operands = make_operands(c);
    const DeviceCase a(c, operands, kernel.plan());
    const GuardedBuffer second(a.output->size());
    ModuleArgs to_first = a.args(c.batch), to_second = to_first;
    to_second.input = to_first.output;  // the second module reads what the first wrote
    to_second.output = second.get();
    kernel.launch(to_first, stream.get(), false);
    kernel.launch(to_second, stream.get(), false);
    synchronize(stream.get());
    const std::vector<uint8_t> want = second.read();
    int wrong = 0;
    for (int r = 0; r < replays; ++r) {
      to_first.jitter = to_second.jitter = static_cast<unsigned>(r + 1);
      fill_async(a.output->get(), 0xff, a.output->size(), stream.get());
      fill_async(second.get(), 0xff, second.size(), stream.get());
      kernel.launch(to_first, stream.get(), true);
      kernel.launch(to_second, stream.get(), true);
      synchronize(stream.get());
      if (second.read() != want) ++wrong;
    }
    if (wrong > 0) fmt::print("REPLAY {} of {} differ: {}\n", wrong, replays, to_string(c));
    failures += wrong > 0 ? 1 : 0;
  }
  fmt::print("{} modules x {} replays, {} modules with differences\n", cases.size(), replays, failures);
  return failures == 0 ? 0 : 1;
}

/// Modules whose output can be their own input.
std::vector<Case> chainable_cases(uint32_t seed, int count, const jit::Target& target) {
  std::vector<Case> chosen;
  for (uint32_t s = seed; static_cast<int>(chosen.size()) < count; ++s) {
    for (const Case& c : random_cases(s, 64, target)) {
      const Plane out = output_plane(c.spec);
      if (c.spec.input == InputTransform::nhwc && c.spec.pool != geometry::Pool::only && out == Plane{c.spec.height, c.spec.width} &&
          output_channels(c.spec) == c.spec.stages[0].in_channels && static_cast<int>(chosen.size()) < count)
        chosen.push_back(c);
    }
  }
  return chosen;
}

/// Random cases of one kind.
std::vector<Case> cases_of(const std::string& kind, uint32_t seed, int count, const jit::Target& target) {
  std::vector<Case> chosen;
  for (uint32_t s = seed; static_cast<int>(chosen.size()) < count && s < seed + 1000; ++s) {
    for (const Case& c : random_cases(s, 64, target)) {
      if (kind_name(kind_of(c.spec)) == kind && static_cast<int>(chosen.size()) < count) chosen.push_back(c);
    }
  }
  return chosen;
}

struct Timed {
  double us = 0;
  TileConfig tile;
  TileRating rating;
  std::string figures;
};

/// Microseconds a launch of each candidate, in a graph of 20 overlapped launches; wrong answers are not timed.
std::vector<Timed> time_spec(const ModuleSpec& spec, const std::vector<RatedTile>& rated, int batch, const TileDevice& device,
                             cudaStream_t stream) {
  std::vector<Case> cases;
  for (const RatedTile& r : rated) cases.push_back(Case{spec, r.tile, batch, 1});
  const std::vector<jit::Binary> binaries = compile_cases(cases, device.target);
  Operands operands = make_operands(cases[0]);
  std::vector<Timed> timed;
  for (size_t i = 0; i < cases.size(); ++i) {
    const ModuleKernel kernel(binaries[i], emit(spec, cases[i].tile, device.target).launch);
    const DeviceCase data(cases[i], operands, kernel.plan());
    const int repeats = 20;
    const GraphExec graph = capture(stream, [&] {
      for (int r = 0; r < repeats; ++r) kernel.launch(data.args(batch), stream, true);
    });
    graph.launch(stream);
    synchronize(stream);
    const jit::KernelFigures f = binaries[i].kernels.at(kernel.plan().kernel);
    timed.push_back({median_us(graph, stream, batch > 8 ? 5 : 20) / repeats, cases[i].tile, rated[i].rating,
                     fmt::format("{} regs {} spill {} smem {} resident", f.registers, f.spill_store_bytes, kernel.plan().shared_bytes,
                                 kernel.resident_blocks())});
  }
  return timed;
}

/// The legal ones of the tiles in a text, in its order.
std::vector<RatedTile> listed_tiles(const ModuleSpec& spec, const std::string& text, int batch, const TileDevice& device) {
  std::vector<RatedTile> list;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const TileConfig tile = parse_tile(word);
    const std::string why = refusal(spec, tile, device.target);
    if (why.empty()) {
      list.push_back({tile, rate(spec, tile, batch, device)});
    } else {
      fmt::print("  {}: {}\n", word, why);
    }
  }
  return list;
}

int run_times(const Options& options, const TileDevice& device) {
  std::ifstream file(option(options, "time", ""));
  if (!file) throw std::runtime_error("cannot read the list of specs");
  const int batch = number(options, "batch", 1), top = number(options, "top", 24), shown = number(options, "show", 6);
  const Stream stream;
  double sum_best = 0, sum_default = 0;
  for (std::string line; std::getline(file, line);) {
    int weight = 1;
    if (line.starts_with("x")) weight = std::atoi(line.c_str() + 1), line = line.substr(line.find(' ') + 1);
    if (line.empty() || line[0] == '#') continue;
    const size_t bar = std::min(line.find(" | "), line.size());
    const ModuleSpec spec = parse_spec(line.substr(0, bar));
    const std::vector<RatedTile> rated = bar < line.size() ? listed_tiles(spec, line.substr(bar + 3), batch, device)
                                                           : candidate_tiles(spec, batch, device, static_cast<size_t>(top));
    if (rated.empty()) continue;
    std::vector<Timed> timed = time_spec(spec, rated, batch, device, stream.get());
    line.resize(bar);
    const double first = timed.front().us;
    std::sort(timed.begin(), timed.end(), [](const Timed& a, const Timed& b) { return a.us < b.us; });
    fmt::print("{} | batch {} | default {:.2f} best {:.2f} us x{}\n", line, batch, first, timed.front().us, weight);
    for (size_t i = 0; i < timed.size() && i < static_cast<size_t>(shown); ++i)
      fmt::print("  {:7.2f} {} [{}] ({})\n", timed[i].us, to_string(timed[i].tile), timed[i].figures, to_string(timed[i].rating));
    sum_best += timed.front().us * weight;
    sum_default += first * weight;
    std::fflush(stdout);
  }
  fmt::print("SUM batch {}: best {:.2f} us, default {:.2f} us\n", batch, sum_best, sum_default);
  return 0;
}

/// Compiles what the known kernels of `options` need into the kernel cache, for a card that need not be here.
int compile_known(const Options& options) {
  const std::vector<Case> cases = known_cases(options);
  const jit::Target target = device_model(options.at("compile-for")).target;
  constexpr size_t kPart = 64;
  for (size_t first = 0; first < cases.size(); first += kPart) {
    const auto begin = cases.begin() + static_cast<std::ptrdiff_t>(first);
    compile_cases({begin, begin + static_cast<std::ptrdiff_t>(std::min(cases.size() - first, kPart))}, target);
  }
  fmt::print("{} cases compiled\n", cases.size());
  return 0;
}

int run(const Options& options) {
  if (options.contains("known") && options.contains("compile-for")) return compile_known(options);
  std::string reason;
  if (device_count(&reason) == 0) {
    fmt::print("skipped: {}\n", reason);
    return 0;
  }
  const DeviceInfo info = device_info(0);
  const jit::Target target = info.target;
  if (options.contains("case")) return run_cases({parse_case(options.at("case"))}, target);
  if (options.contains("known")) return run_cases(known_cases(options), target);
  if (options.contains("time")) return run_times(options, TileDevice{target, info.sm_count});
  const auto seed = static_cast<uint32_t>(number(options, "seed", 1));
  if (options.contains("replays"))
    return run_replays(chainable_cases(seed, number(options, "count", 8), target), target, number(options, "replays", 100));
  fmt::print("{}, sm_{}, seed {}\n", info.name, target.text(), seed);
  const int count = number(options, "count", 1000);
  return run_cases(options.contains("kind") ? cases_of(options.at("kind"), seed, count, target) : random_cases(seed, count, target),
                   target);
}

}  // namespace
}  // namespace fcm::testing

int main(int count, char** words) {
  fcm::testing::Options options;
  for (int i = 1; i + 1 < count; i += 2) options[std::string(words[i]).substr(2)] = words[i + 1];
  try {
    return fcm::testing::run(options);
  } catch (const std::exception& e) {
    fmt::print(stderr, "fcm-module-sweep: {}\n", e.what());
    return 2;
  }
}
