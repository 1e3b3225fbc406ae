#include "tests/calibration/trees.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

namespace fcm::calibration {
namespace {

constexpr size_t kLevels = 4;

struct Sum {
  double y = 0, weight = 0;
  void add(float value, float w) { y += static_cast<double>(value) * w, weight += w; }
  double score() const { return weight > 0 ? y * y / weight : 0.0; }
};

struct Question {
  double gain = 0;
  uint8_t feature = 0;
  float at_most = std::numeric_limits<float>::max();  // all rows say yes
};

class Grower {
 public:
  Grower(const std::vector<TileFeatures>& x, const std::vector<float>& y, const std::vector<float>& weight, const Growth& growth)
      : x_(x), weight_(weight), growth_(growth), left_(y), node_(x.size()), seen_(x.size()) {
    for (size_t f = 0; f < kTileFeatures; ++f) {
      order_[f].resize(x.size());
      std::iota(order_[f].begin(), order_[f].end(), 0u);
      std::stable_sort(order_[f].begin(), order_[f].end(), [&](uint32_t a, uint32_t b) { return x[a][f] < x[b][f]; });
    }
  }

  TileTree next(uint32_t number) {
    for (size_t i = 0; i < x_.size(); ++i) seen_[i] = draw(static_cast<uint32_t>(i), number) < growth_.sampled;
    std::fill(node_.begin(), node_.end(), size_t{0});
    TileTree tree;
    for (size_t level = 0, first = 0; level < kLevels; ++level, first = 2 * first + 1) ask(tree, first, size_t{1} << level);
    std::array<Sum, TileTree::kLeaves> sums;
    for (size_t i = 0; i < x_.size(); ++i) {
      if (seen_[i]) sums[node_[i] - TileTree::kQuestions].add(left_[i], weight_[i]);
    }
    for (size_t k = 0; k < TileTree::kLeaves; ++k)
      tree.value[k] = growth_.rate * static_cast<float>(sums[k].y / (sums[k].weight + growth_.doubted_rows));
    for (size_t i = 0; i < x_.size(); ++i) left_[i] -= tree.value[node_[i] - TileTree::kQuestions];
    return tree;
  }

 private:
  static float draw(uint32_t row, uint32_t tree) {
    uint32_t h = row * 2654435761u ^ (tree + 1) * 2246822519u;
    h = (h ^ h >> 15) * 2246822519u;
    h = (h ^ h >> 13) * 3266489917u;
    return static_cast<float>((h ^ h >> 16) >> 8) / static_cast<float>(1u << 24);
  }

  /// The best questions for the nodes [first, first + count), and their answers.
  void ask(TileTree& tree, size_t first, size_t count) {
    std::vector<Sum> all(count);
    for (size_t i = 0; i < x_.size(); ++i) {
      if (seen_[i]) all[node_[i] - first].add(left_[i], weight_[i]);
    }
    std::vector<Question> best(count);
    for (size_t f = 0; f < kTileFeatures; ++f) {
      std::vector<Sum> below(count);
      std::vector<float> last(count, -std::numeric_limits<float>::max());
      for (const uint32_t i : order_[f]) {
        if (!seen_[i]) continue;
        const size_t k = node_[i] - first;
        const float value = x_[i][f];
        const Sum above{all[k].y - below[k].y, all[k].weight - below[k].weight};
        if (value > last[k] && below[k].weight >= growth_.fewest && above.weight >= growth_.fewest) {
          const double gain = below[k].score() + above.score() - all[k].score();
          if (gain > best[k].gain) best[k] = {gain, static_cast<uint8_t>(f), last[k] + (value - last[k]) / 2};
        }
        last[k] = value;
        below[k].add(left_[i], weight_[i]);
      }
    }
    for (size_t k = 0; k < count; ++k) tree.feature[first + k] = best[k].feature, tree.at_most[first + k] = best[k].at_most;
    for (size_t i = 0; i < x_.size(); ++i) node_[i] = 2 * node_[i] + (x_[i][tree.feature[node_[i]]] <= tree.at_most[node_[i]] ? 1 : 2);
  }

  const std::vector<TileFeatures>& x_;
  const std::vector<float>& weight_;
  const Growth& growth_;
  std::vector<float> left_;  // what the trees so far do not explain
  std::vector<size_t> node_;
  std::vector<bool> seen_;
  std::array<std::vector<uint32_t>, kTileFeatures> order_;
};

}  // namespace

std::vector<TileTree> grow(const std::vector<TileFeatures>& x, const std::vector<float>& y, const std::vector<float>& weight,
                           const Growth& growth) {
  Grower grower(x, y, weight, growth);
  std::vector<TileTree> trees;
  for (int i = 0; i < growth.trees; ++i) trees.push_back(grower.next(static_cast<uint32_t>(i)));
  return trees;
}

std::string to_source(const std::vector<TileTree>& trees) {
  std::string text;
  for (const TileTree& t : trees) {
    text += "{{{";
    for (const uint8_t f : t.feature) text += fmt::format("{},", f);
    text += "}},{{";
    for (const float x : t.at_most) text += fmt::format("{:#.5g}f,", x);
    text += "}},{{";
    for (const float x : t.value) text += fmt::format("{:#.4g}f,", x);
    text += "}}},\n";
  }
  return text;
}

}  // namespace fcm::calibration
