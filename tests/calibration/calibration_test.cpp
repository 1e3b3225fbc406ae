// Tables read back, and what a survey times.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>

#include "fcm/emit.h"
#include "fcm/tiles.h"
#include "runtime/support/error.h"
#include "tests/calibration/tasks.h"
#include "tests/calibration/trees.h"

namespace fcm::calibration {
namespace {

const char* const kBlock = "nhwc 14x14 pw/64-384/f16/clip(0,6) dw3x3s1x1p1.1.1.1/384-384/f16/clip(0,6) pw/384-64/f16/identity";

std::string temporary(const std::string& name, const std::string& text) {
  const std::filesystem::path path = std::filesystem::path(::testing::TempDir()) / name;
  std::ofstream(path) << text;
  return path;
}

TEST(Table, RowsReadBackAndAnInterruptedLineIsLeftOut) {
  const Row row{8, 12.375, parse_spec(kBlock), parse_tile("t4x7_c48_n64_x8_w2.1.2_s1_e1.3_r1_b1"), 96, 0, 264};
  const std::string text = to_string(row);
  const std::vector<Row> rows = read_rows(temporary("rows.tsv", "# comment\n" + text + "\n" + text.substr(0, 30)));
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(to_string(rows[0]), text);
  EXPECT_TRUE(read_rows("/no/such/file").empty());
  EXPECT_THROW(read_rows(temporary("bad.tsv", "1\t2\n")), Error);
  EXPECT_THROW(read_rows(temporary("bad2.tsv", "x" + text + "\n")), Error);
}

TEST(Table, ListsOfModulesTakeADtype) {
  const std::string list = std::string("# comment\nblock | ") + kBlock + "\n" + kBlock + "\nblock | " + kBlock + " | 1,197\n";
  const std::vector<ListedModule> modules = read_modules(temporary("list.txt", list), DType::bf16);
  ASSERT_EQ(modules.size(), 3u);
  EXPECT_EQ(modules[0].spec, modules[1].spec);
  EXPECT_EQ(modules[0].spec, modules[2].spec);
  EXPECT_EQ(modules[0].spec.stages[0].dtype, DType::bf16);
  EXPECT_TRUE(modules[0].images.empty() && modules[1].images.empty());
  EXPECT_EQ(modules[2].images, (std::vector<int>{1, 197}));
  EXPECT_THROW(read_modules(temporary("bad.txt", "block | nonsense\n"), DType::f16), Error);
  for (const char* images : {"x", "1,,2", "0", "1 | 2"})
    EXPECT_THROW(read_modules(temporary("bad.txt", std::string("block | ") + kBlock + " | " + images + "\n"), DType::f16), Error);
}

TEST(Trees, LearnAStepAndAProductAndRepeat) {
  std::vector<TileFeatures> x;
  std::vector<float> y, weight;
  for (int i = 0; i < 600; ++i) {
    TileFeatures f{};
    f[3] = static_cast<float>(i % 30) / 30;
    f[7] = static_cast<float>(i / 30) / 20;
    f[9] = static_cast<float>(i * 7 % 11);  // says nothing
    x.push_back(f);
    y.push_back((f[3] > 0.5f ? 0.4f : -0.2f) + (f[3] > 0.5f && f[7] > 0.5f ? 0.2f : 0.0f));
    weight.push_back(1);
  }
  const std::vector<TileTree> trees = grow(x, y, weight);
  const Forest forest(trees);
  float worst = 0;
  for (size_t i = 0; i < x.size(); ++i) worst = std::max(worst, std::abs(forest.correction(x[i]) - y[i]));
  EXPECT_LT(worst, 0.05f);
  EXPECT_EQ(to_source(trees), to_source(grow(x, y, weight)));
}

float said_one_by_one(const std::vector<TileTree>& trees, const TileFeatures& features) {
  float sum = 0;
  for (const TileTree& tree : trees) sum += tree(features);
  return std::clamp(sum, -0.7f, 0.7f);
}

TEST(Trees, AForestSaysWhatItsTreesSay) {
  std::mt19937 random(7);
  std::normal_distribution<float> feature(2.0f, 3.0f);
  for (const TileForest which : {TileForest::windows, TileForest::pointwise}) {
    for (int i = 0; i < 500; ++i) {
      TileFeatures f;
      for (float& x : f) x = feature(random);
      const float all = said_one_by_one(tile_trees(which), f);
      EXPECT_EQ(forest(which).correction(f), all);
      const std::vector<TileTree> few = {tile_trees(which).begin(), tile_trees(which).begin() + 6};
      EXPECT_EQ(Forest(few).correction(f), said_one_by_one(few, f));
      for (const float most : {all - 0.3f, all, all + 0.3f}) {
        const float early = forest(which).correction(f, most);
        EXPECT_TRUE(early == all || early > most) << early << " for " << all << ", at most " << most;
      }
    }
  }
}

TEST(Trees, AFarFeatureGivesABoundedCorrection) {
  for (const TileForest which : {TileForest::windows, TileForest::pointwise}) {
    ASSERT_FALSE(tile_trees(which).empty());
    for (const float value : {-1e30f, 0.0f, 1e30f}) {
      TileFeatures f;
      f.fill(value);
      EXPECT_LE(std::abs(forest(which).correction(f)), 0.7f);
    }
  }
}

TEST(Trees, AreAskedAboutHopperAlone) {
  const ModuleSpec spec = parse_spec(kBlock);
  const TileConfig tile = parse_tile("t2x14_c48_n64_x8_w2.1.2_s1_e1.3_r1_b1");
  TileModel untaught;
  untaught.trees = false;
  const TileDevice hopper{jit::Target::parse("90a"), 132}, other{jit::Target::parse("100"), 132};
  EXPECT_NE(rate(spec, tile, 1, hopper).total, rate(spec, tile, 1, hopper, untaught).total);
  EXPECT_EQ(rate(spec, tile, 1, other).total, rate(spec, tile, 1, other, untaught).total);
}

TEST(Tasks, AreLegalUniqueSpreadAndNotRepeated) {
  const DeviceModel device = device_model("h200");
  const std::vector<ModuleSpec> specs = {parse_spec(kBlock), parse_spec("nhwc 7x7 pw/320-1280/f16/clip(0,6)"),
                                         parse_spec("sums49 1x1 pool/1280-1280/f16/identity pw/1280-1000/f16/identity")};
  SurveyOptions options;
  options.batches = {1, 64};
  Subjects subjects;
  for (const ModuleSpec& spec : specs) subjects.add(spec, options.batches);
  const std::vector<Task> tasks = tasks_of(subjects.list(), options, device, {});
  std::set<std::string> seen;
  std::set<int> splits;
  for (const Task& t : tasks) {
    EXPECT_EQ(refusal(t.spec, t.tile, device.target), "");
    EXPECT_EQ(t.batches, options.batches);
    EXPECT_TRUE(seen.insert(key_of(t.spec, t.tile, 0)).second);
    if (t.spec == specs[0]) splits.insert(t.tile.split);
  }
  EXPECT_GE(splits.size(), 2u);
  EXPECT_EQ(tasks[1].spec, specs[1]) << "the first tile of every module comes first";
  std::vector<Row> known;
  for (const Task& t : tasks) known.push_back({1, 1.0, t.spec, t.tile, 0, 0, 0});
  const std::vector<Task> rest = tasks_of(subjects.list(), options, device, known);
  ASSERT_EQ(rest.size(), tasks.size());
  for (const Task& t : rest) EXPECT_EQ(t.batches, std::vector<int>{64});
}

TEST(Tasks, WhatWasGoodIsTimedAgain) {
  const ModuleSpec a = parse_spec(kBlock), b = parse_spec("nhwc 7x7 pw/320-1280/f16/clip(0,6)");
  const TileConfig fast = parse_tile("t4x7_c48_n64_x8_w2.1.2_s1_e1.3_r1_b1"), slow = parse_tile("t2x14_c48_n64_x8_w2.1.2_s1_e1.3_r1_b1"),
                   other = parse_tile("t1x16_c64_n64_x1_w1.1.2_s2_e1.1_r1_b1");
  TileConfig lone = fast;
  lone.lone = true;
  const std::vector<Row> table = {{1, 3.0, a, fast, 0, 0, 0},
                                  {1, 2.8, a, lone, 0, 0, 0},
                                  {1, 3.2, a, slow, 0, 0, 0},
                                  {8, 5.0, a, slow, 0, 0, 0},
                                  {1, 2.0, b, other, 0, 0, 0}};
  const std::vector<Task> tasks = tasks_again(table, 0.1, {});
  ASSERT_EQ(tasks.size(), 3u);
  std::map<std::string, std::vector<int>> batches;
  for (const Task& t : tasks) batches[key_of(t.spec, t.tile, 0)] = t.batches;
  EXPECT_EQ(batches.at(key_of(a, fast, 0)), std::vector<int>{1}) << "both forms are one task";
  EXPECT_EQ(batches.at(key_of(a, slow, 0)), std::vector<int>{8}) << "at batch 1 it was 14 % slower";
  EXPECT_EQ(batches.at(key_of(b, other, 0)), std::vector<int>{1});
  EXPECT_EQ(tasks_again(table, 0.1, {{1, 2.0, b, other, 0, 0, 0}}).size(), 2u);
  EXPECT_EQ(tasks_again(table, 0.2, {}).size(), 3u);
}

TEST(Subjects, MergeTheirImages) {
  Subjects subjects;
  subjects.add(parse_spec("nhwc 1x1 pw/192-576/f16/identity"), {196, 64});
  subjects.add(parse_spec(kBlock), {1});
  subjects.add(parse_spec("nhwc 1x1 pw/192-576/f16/identity"), {12544, 64});
  ASSERT_EQ(subjects.list().size(), 2u);
  EXPECT_EQ(subjects.list()[0].images, (std::set<int>{64, 196, 12544}));
}

}  // namespace
}  // namespace fcm::calibration
