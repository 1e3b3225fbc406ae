// fcm-tile-fit: fits the constants of the tile model (fcm/tiles.h) to surveys and says how well it chooses.
//
//   fcm-tile-fit TABLE... [--device h200] [--evaluations 3000] [--only NAME,...]
//                [--report-only | --list | --trees fcm/tile_trees.inc | --kernels planner/devices/h200.kernels]
//
// Each constant is changed in turn by a factor that shrinks when nothing helps any more; a change stays when the loss falls. The loss is
// the mean squared logarithm of predicted over measured time, in which tiles near the best measured of their module count most: the model
// is asked which tile is best, not how bad a bad one is. Printed: the constants, and before and after: error, rank correlation (of all
// rows, and the mean within a module and batch), and regret: how much slower the tile that the model likes best is than the best measured
// one.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <map>
#include <numeric>
#include <thread>

#include "fcm/head.h"
#include "planner/cost.h"
#include "planner/known_kernels.h"
#include "planner/tile_search.h"
#include "planner/traffic.h"
#include "runtime/support/error.h"
#include "tests/calibration/table.h"
#include "tests/calibration/trees.h"

namespace fcm::calibration {
namespace {

struct Constant {
  const char* name;
  double TileModel::*member;
};
constexpr Constant kConstants[] = {{"global_latency", &TileModel::global_latency},
                                   {"bytes_a_cycle", &TileModel::bytes_a_cycle},
                                   {"bytes_alone", &TileModel::bytes_alone},
                                   {"cluster_doubling", &TileModel::cluster_doubling},
                                   {"crowded_clusters", &TileModel::crowded_clusters},
                                   {"copy", &TileModel::copy},
                                   {"barrier", &TileModel::barrier},
                                   {"cluster_barrier", &TileModel::cluster_barrier},
                                   {"matrix_f16", &TileModel::matrix_f16},
                                   {"f32_multiply", &TileModel::f32_multiply},
                                   {"f32_load", &TileModel::f32_load},
                                   {"window_f32", &TileModel::window_f32},
                                   {"matrix_latency", &TileModel::matrix_latency},
                                   {"unit_work", &TileModel::unit_work},
                                   {"activation", &TileModel::activation},
                                   {"stat_latency", &TileModel::stat_latency},
                                   {"stat_step", &TileModel::stat_step},
                                   {"unit_latency", &TileModel::unit_latency},
                                   {"group_latency", &TileModel::group_latency},
                                   {"window_pair", &TileModel::window_pair},
                                   {"window_column", &TileModel::window_column},
                                   {"operand", &TileModel::operand},
                                   {"operand_group", &TileModel::operand_group},
                                   {"operand_flat", &TileModel::operand_flat},
                                   {"dense", &TileModel::dense},
                                   {"store", &TileModel::store},
                                   {"gather", &TileModel::gather},
                                   {"finish", &TileModel::finish},
                                   {"finish_vector", &TileModel::finish_vector},
                                   {"finish_part", &TileModel::finish_part},
                                   {"push", &TileModel::push},
                                   {"lone_warps", &TileModel::lone_warps},
                                   {"more_blocks", &TileModel::more_blocks},
                                   {"more_clusters", &TileModel::more_clusters},
                                   {"reloaded", &TileModel::reloaded},
                                   {"first_weights", &TileModel::first_weights},
                                   {"wavefront", &TileModel::wavefront},
                                   {"warpgroup_step", &TileModel::warpgroup_step},
                                   {"product_bytes", &TileModel::product_bytes},
                                   {"product_step", &TileModel::product_step},
                                   {"product_value", &TileModel::product_value},
                                   {"product_activation", &TileModel::product_activation},
                                   {"product_slice", &TileModel::product_slice},
                                   {"product_begin", &TileModel::product_begin},
                                   {"product_lone", &TileModel::product_lone},
                                   {"product_moment", &TileModel::product_moment},
                                   {"product_latency", &TileModel::product_latency},
                                   {"head_depth", &TileModel::head_depth},
                                   {"head_row", &TileModel::head_row},
                                   {"head_output", &TileModel::head_output},
                                   {"head_sum", &TileModel::head_sum},
                                   {"head_pixel", &TileModel::head_pixel},
                                   {"head_step", &TileModel::head_step},
                                   {"head_group", &TileModel::head_group},
                                   {"head_turns", &TileModel::head_turns},
                                   {"head_weights", &TileModel::head_weights},
                                   {"head_blocks", &TileModel::head_blocks}};

struct Sample {
  Row row;
  size_t group = 0;  ///< module and batch
  double weight = 1;
};

std::vector<Sample> samples_of(const std::vector<Row>& rows, std::vector<std::string>& groups) {
  std::map<std::string, size_t> index;
  std::vector<Sample> samples;
  std::vector<double> best;
  for (Row r : rows) {
    if (r.tile.lone) continue;  // no model knows what keeps blocks apart
    r.us += kAmongOthersUs;     // what the model predicts
    const std::string key = fmt::format("{} {}", r.batch, fcm::to_string(r.spec));
    const auto [entry, fresh] = index.emplace(key, groups.size());
    if (fresh) groups.push_back(key), best.push_back(r.us);
    best[entry->second] = std::min(best[entry->second], r.us);
    samples.push_back({r, entry->second, 1});
  }
  for (Sample& s : samples) s.weight = 1 / (1 + 4 * std::pow(std::log(s.row.us / best[s.group]), 2) / 0.1);
  return samples;
}

std::vector<double> predict(const std::vector<Sample>& samples, const DeviceModel& device, const TileModel& model) {
  std::vector<double> us(samples.size());
  const size_t threads = std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::jthread> workers;
  for (size_t t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      for (size_t i = t; i < samples.size(); i += threads)
        us[i] = predicted_cost(samples[i].row.spec, samples[i].row.tile, samples[i].row.batch, device, {}, model).time_us;
    });
  }
  workers.clear();
  return us;
}

double loss(const std::vector<Sample>& samples, const std::vector<double>& us) {
  double sum = 0, weights = 0;
  for (size_t i = 0; i < us.size(); ++i) {
    sum += samples[i].weight * std::pow(std::log(us[i] / samples[i].row.us), 2);
    weights += samples[i].weight;
  }
  return sum / weights;
}

std::vector<double> ranks(const std::vector<double>& values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> rank(values.size());
  for (size_t i = 0; i < order.size(); ++i) rank[order[i]] = static_cast<double>(i);
  return rank;
}

double spearman(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() < 3) return 1;
  const std::vector<double> x = ranks(a), y = ranks(b);
  const double n = static_cast<double>(a.size()), mean = (n - 1) / 2;
  double top = 0, bottom = 0;
  for (size_t i = 0; i < x.size(); ++i) top += (x[i] - mean) * (y[i] - mean), bottom += (x[i] - mean) * (x[i] - mean);
  return top / bottom;
}

void report(const char* what, const std::vector<Sample>& samples, const std::vector<std::string>& groups, const std::vector<double>& us) {
  std::vector<double> measured;
  for (const Sample& s : samples) measured.push_back(s.row.us);
  fmt::print("{}: loss {:.4f}, rank correlation of all {:.3f}\n", what, loss(samples, us), spearman(us, measured));
  std::map<int, std::vector<size_t>> by_batch;  // groups
  std::vector<std::vector<size_t>> members(groups.size());
  for (size_t i = 0; i < samples.size(); ++i) members[samples[i].group].push_back(i);
  for (size_t g = 0; g < groups.size(); ++g) by_batch[samples[members[g][0]].row.batch].push_back(g);
  for (const auto& [batch, list] : by_batch) {
    double rho = 0, regret = 0, worst = 0, chosen_sum = 0, best_sum = 0;
    std::vector<std::pair<double, size_t>> regrets;
    for (const size_t g : list) {
      std::vector<double> p, m;
      for (const size_t i : members[g]) p.push_back(us[i]), m.push_back(measured[i]);
      const double best = *std::min_element(m.begin(), m.end());
      const double chosen = m[static_cast<size_t>(std::min_element(p.begin(), p.end()) - p.begin())];
      rho += spearman(p, m);
      regret += chosen / best - 1;
      worst = std::max(worst, chosen / best - 1);
      chosen_sum += chosen, best_sum += best;
      regrets.emplace_back(chosen / best - 1, g);
    }
    const double n = static_cast<double>(list.size());
    fmt::print("  batch {:3}: {} modules, rank correlation within {:.3f}, regret mean {:.1f} %, worst {:.0f} %, of sums {:.1f} %\n", batch,
               list.size(), rho / n, 100 * regret / n, 100 * worst, 100 * (chosen_sum / best_sum - 1));
    std::sort(regrets.rbegin(), regrets.rend());
    for (size_t i = 0; i < std::min<size_t>(3, regrets.size()); ++i)
      fmt::print("     {:.0f} % {}\n", 100 * regrets[i].first, groups[regrets[i].second]);
  }
}

TileModel fit(const std::vector<Sample>& samples, const DeviceModel& device, int evaluations, const std::vector<std::string>& only) {
  TileModel model;
  model.trees = false;
  double best = loss(samples, predict(samples, device, model));
  int used = 0;
  for (double factor = 1.4; factor > 1.01 && used < evaluations; factor = std::sqrt(factor)) {
    for (bool improved = true; improved && used < evaluations;) {
      improved = false;
      for (const Constant& c : kConstants) {
        if (!only.empty() && std::find(only.begin(), only.end(), c.name) == only.end()) continue;
        for (const double f : {factor, 1 / factor}) {
          TileModel other = model;
          other.*(c.member) *= f;
          const double now = loss(samples, predict(samples, device, other));
          ++used;
          if (now >= best * 0.9999) continue;
          best = now;
          model = other;
          improved = true;
          break;
        }
      }
    }
  }
  return model;
}

/// What the trees learn from and are asked about: modules that are no heads, in 16 bits, where latency decides.
struct Lesson {
  std::vector<size_t> sample;
  std::vector<TileFeatures> x;
  std::vector<float> y, weight;
};
Lesson lesson_of(const std::vector<Sample>& samples, const DeviceModel& device, TileModel model, TileForest forest) {
  model.trees = false;
  Lesson lesson;
  for (size_t i = 0; i < samples.size(); ++i) {
    const Row& row = samples[i].row;
    if (is_head(row.spec) || dtype_of(row.spec) == DType::f32) continue;
    const TiledModule m = tiled(row.spec, row.tile);
    if (forest_of(m) != forest || m.geometry.product || m.shape.team > 0) continue;  // rated without trees
    const Cost cost = predicted_cost(row.spec, row.tile, row.batch, device, {}, model);
    if (std::max({cost.dram_us, cost.l2_us, cost.compute_us}) > cost.latency_us) continue;
    const TileRating r = rate(m, row.batch, {device.target, static_cast<int>(device.sm_count)}, model);
    lesson.sample.push_back(i);
    lesson.x.push_back(tile_features(m, r, static_cast<int>(device.sm_count)));
    lesson.y.push_back(static_cast<float>(std::log(std::max(0.3, row.us - cost.step_us) / cost.latency_us)));
    lesson.weight.push_back(static_cast<float>(samples[i].weight));
  }
  return lesson;
}

Lesson part_of(const Lesson& all, const std::vector<Sample>& samples, size_t fold, size_t folds, bool inside) {
  Lesson part;
  for (size_t i = 0; i < all.x.size(); ++i) {
    if ((std::hash<std::string>{}(fcm::to_string(samples[all.sample[i]].row.spec)) % folds == fold) != inside) continue;
    part.sample.push_back(all.sample[i]);
    part.x.push_back(all.x[i]), part.y.push_back(all.y[i]), part.weight.push_back(all.weight[i]);
  }
  return part;
}

/// Grows trees on all rows; before that, judges trees by modules that they have not seen. Writes them to `path`.
void grow_trees(const std::vector<Sample>& samples, const std::vector<std::string>& groups, const DeviceModel& device,
                const TileModel& model, const std::string& path) {
  constexpr size_t kFolds = 4;
  TileModel plain = model;
  plain.trees = false;
  const std::vector<double> rated = predict(samples, device, plain);
  report("without trees", samples, groups, rated);
  const double step_us = module_step_us(device);
  std::vector<double> unseen = rated, us = rated;
  const auto correct = [&](std::vector<double>& to, const Lesson& part, const std::vector<TileTree>& trees) {
    const Forest forest(trees);
    for (size_t i = 0; i < part.x.size(); ++i)
      to[part.sample[i]] = step_us + (rated[part.sample[i]] - step_us) * std::exp(forest.correction(part.x[i]));
  };
  std::string text = "// Written by fcm-tile-fit: the trees of TileForest::windows, then those of TileForest::pointwise.\n";
  for (const TileForest forest : {TileForest::windows, TileForest::pointwise}) {
    const Lesson lesson = lesson_of(samples, device, model, forest);
    for (size_t fold = 0; fold < kFolds; ++fold) {
      const Lesson others = part_of(lesson, samples, fold, kFolds, false);
      correct(unseen, part_of(lesson, samples, fold, kFolds, true), grow(others.x, others.y, others.weight));
    }
    const std::vector<TileTree> trees = grow(lesson.x, lesson.y, lesson.weight);
    correct(us, lesson, trees);
    text += "{\n" + to_source(trees) + "},\n";
  }
  report("trees, by modules not seen", samples, groups, unseen);
  report("trees", samples, groups, us);
  std::ofstream out(path);
  out << text;
  out.close();
  if (!out) throw Error(ErrorCode::bad_input, fmt::format("'{}' cannot be written", path));
}

/// Of tiles that a survey cannot tell from the fastest (kEqual) the one that asks the L2 for the fewest bytes; or, where the fastest one's
/// are a good part of its time and tiles as fast but for kAsFast save at least a third of them, the fastest that asks for about the fewest.
/// Bytes are energy, and a card at its power limit slows.
const Row* frugal(const std::vector<const Row*>& tiles, const DeviceModel& device) {
  constexpr double kAsFast = 1.06, kSaved = 1.0 / 3, kGoodPart = 0.25, kAsFew = 1.1, kEqual = 1.01;
  const auto bytes = [&](const Row* r) { return module_traffic(r->spec, r->tile, r->batch, device).total(); };
  const auto faster = [](const Row* a, const Row* b) { return a->us < b->us; };
  const Row* fastest = *std::min_element(tiles.begin(), tiles.end(), faster);
  const double most = bytes(fastest), enough = (1 - kSaved) * most;
  const bool matters = most >= kGoodPart * fastest->us * device.l2_at(device.sm_count) * 1e3;
  std::vector<std::pair<const Row*, double>> near;
  double least = most;
  for (const Row* r : tiles) {
    if (r->us <= kAsFast * fastest->us) near.emplace_back(r, bytes(r)), least = std::min(least, near.back().second);
  }
  const Row* chosen = nullptr;
  double fewest = most;
  for (const auto& [r, b] : near) {
    if (matters && least < enough) {
      if (b < enough && b <= kAsFew * least && (chosen == nullptr || faster(r, chosen))) chosen = r;
    } else if (r->us <= kEqual * fastest->us && b < fewest) {
      chosen = r, fewest = b;
    }
  }
  return chosen != nullptr ? chosen : fastest;
}

/// What a file of known kernels says; nothing where there is none yet.
KnownKernels known_before(const std::string& path) {
  std::ifstream in(path);
  return {std::string(std::istreambuf_iterator<char>(in), {}), path};
}

/// The tile that was known before where it is as fast as `best` within what a survey can tell: it has been run in networks.
const Row* settled(const Row* best, const std::vector<const Row*>& tiles, const KnownKernels& before) {
  constexpr double kEqual = 1.005;
  const auto known = before.find(best->spec, best->batch);
  if (!known) return best;
  for (const Row* r : tiles) {
    if (r->tile == known->tile && r->us <= kEqual * best->us) return r;
  }
  return best;
}

/// Writes the tile of every module and number of images that measured best (see `frugal` and `settled`), but for those that the search
/// expects another tile to beat by far. Of many tiles the best predicted one is rarely as good as its prediction: the more were measured,
/// the less it is believed.
void write_kernels(const std::vector<Row>& rows, const DeviceModel& device, const std::string& path) {
  struct Measured {
    std::vector<const Row*> tiles;
    double doubt() const { return std::min(1.1 + 0.02 * static_cast<double>(tiles.size()), 1.4); }
  };
  std::map<std::string, std::map<int, Measured>> modules;  // by spec, by images
  for (const Row& r : rows) {
    if (!refusal(r.spec, r.tile, device).empty()) continue;  // what is legal changes with the kernels
    modules[fcm::to_string(KnownKernels::canonical(r.spec))][r.batch].tiles.push_back(&r);
  }
  TileSearch search(device, {}, 1);
  const KnownKernels before = known_before(path);
  std::string text =
      fmt::format("# {}: the fastest measured tile of modules. Written by fcm-tile-fit --kernels; see planner/README.md.\n", device.name);
  size_t written = 0, left_out = 0;
  for (const auto& [spec, by_images] : modules) {
    std::string lines;
    for (const auto& [images, m] : by_images) {
      const Row& best = *settled(frugal(m.tiles, device), m.tiles, before);
      const auto& tiles = search.tiles(best.spec, images);
      if (!tiles.empty() && best.us + kAmongOthersUs > m.doubt() * tiles.front().cost.time_us) {
        ++left_out;
        continue;
      }
      lines += fmt::format("{} {:.2f} {}\n", images, best.us, fcm::to_string(best.tile));
      ++written;
    }
    if (!lines.empty()) text += fmt::format("module {}\n{}", spec, lines);
  }
  std::ofstream out(path);
  out << text;
  out.close();
  if (!out) throw Error(ErrorCode::bad_input, fmt::format("'{}' cannot be written", path));
  fmt::print("{} kernels, {} left out\n", written, left_out);
}

/// One line a row: what was measured, what is predicted, and the terms of the rating.
void list_rows(const std::vector<Sample>& samples, const DeviceModel& device) {
  for (const Sample& s : samples) {
    const Row& r = s.row;
    const Cost c = predicted_cost(r.spec, r.tile, r.batch, device, {});
    const TileRating t = rate(r.spec, r.tile, r.batch, {device.target, static_cast<int>(device.sm_count)});
    fmt::print(
        "row\t{}\t{:.3f}\t{:.3f}\t{:.3f}\t{:.3f}\t{:.3f}\t{:.3f}\t{:.0f}\t{:.0f}\t{:.0f}\t{:.0f}\t{:.0f}\t{:.0f}\t{}\t{}\t{:.0f}\t{}\t{}\n",
        r.batch, r.us, c.time_us, c.dram_us, c.l2_us, c.compute_us, c.latency_us, t.prologue, t.fetch, t.expand, t.depthwise, t.finish,
        t.shared, t.blocks, t.concurrent, t.total, fcm::to_string(r.spec), fcm::to_string(r.tile));
  }
}

int run(const std::vector<std::string>& tables, const std::string& key, int evaluations, bool report_only, bool rows_wanted,
        const std::string& trees, const std::string& kernels, const std::vector<std::string>& only) {
  std::vector<Row> rows;
  for (const std::string& t : tables) {
    const std::vector<Row> more = read_rows(t);
    if (more.empty()) throw Error(ErrorCode::bad_input, fmt::format("table '{}' holds no rows", t));
    rows.insert(rows.end(), more.begin(), more.end());
  }
  std::vector<std::string> groups;
  const std::vector<Sample> samples = samples_of(rows, groups);
  DeviceModel device = device_model(key);
  device.kernels = nullptr;  // the model itself is asked
  if (!kernels.empty()) {
    write_kernels(rows, device, kernels);
    return 0;
  }
  if (rows_wanted) {
    list_rows(samples, device);
    return 0;
  }
  fmt::print("{} rows, {} modules and batches\n", samples.size(), groups.size());
  if (!trees.empty()) {
    grow_trees(samples, groups, device, {}, trees);
    return 0;
  }
  report("before", samples, groups, predict(samples, device, {}));
  if (report_only) return 0;
  // Half of the modules are fitted and the other half judged, so that what is learnt by heart shows.
  std::vector<Sample> half;
  for (const Sample& s : samples) {
    if (std::hash<std::string>{}(fcm::to_string(s.row.spec)) % 2 == 0) half.push_back(s);
  }
  const TileModel of_half = fit(half, device, evaluations / 2, only);
  std::vector<Sample> others;
  std::vector<Row> other_rows;
  std::vector<std::string> other_groups;
  for (const Sample& s : samples) {
    if (std::hash<std::string>{}(fcm::to_string(s.row.spec)) % 2 != 0) other_rows.push_back(s.row);
  }
  others = samples_of(other_rows, other_groups);
  report("fitted to the other half", others, other_groups, predict(others, device, of_half));
  const TileModel model = fit(samples, device, evaluations, only);
  report("after", samples, groups, predict(samples, device, model));
  for (const Constant& c : kConstants) fmt::print("  double {} = {:.3g};\n", c.name, model.*(c.member));
  return 0;
}

}  // namespace
}  // namespace fcm::calibration

int main(int argc, char** argv) {
  std::vector<std::string> tables, only;
  std::string device = "h200", trees, kernels;
  int evaluations = 3000;
  bool report_only = false, list = false;
  CLI::App app("Fits the constants of the tile model to surveys.", "fcm-tile-fit");
  app.add_option("TABLE", tables, "What fcm-tile-survey wrote")->required();
  app.add_option("--device", device, "The shipped model of the card that was surveyed")->capture_default_str();
  app.add_option("--evaluations", evaluations, "How often the model is evaluated")->capture_default_str();
  app.add_option("--only", only, "Fit these constants and leave the others")->delimiter(',');
  app.add_flag("--report-only", report_only, "Judge the model as it is");
  app.add_flag("--list", list, "Only list every row with the terms of its prediction");
  app.add_option("--trees", trees, "Only grow the trees of the model as it is, and write them to this file (fcm/tile_trees.inc)");
  app.add_option("--kernels", kernels, "Only write the fastest measured tiles to this file (planner/devices/DEVICE.kernels)");
  CLI11_PARSE(app, argc, argv);
  try {
    return fcm::calibration::run(tables, device, evaluations, report_only, list, trees, kernels, only);
  } catch (const std::exception& e) {
    fmt::print(stderr, "fcm-tile-fit: {}\n", e.what());
    return 2;
  }
}
