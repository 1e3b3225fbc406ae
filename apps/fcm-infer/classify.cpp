// From scores to classes.
#include "apps/fcm-infer/classify.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace fcm::apps {

bool is_classifier(const std::vector<fcm_port>& outputs, const std::vector<ItemLayout>& layouts) {
  if (outputs.size() != 1) return false;
  const fcm_dtype dtype = outputs[0].dtype;
  if (dtype != FCM_FLOAT32 && dtype != FCM_FLOAT16 && dtype != FCM_BFLOAT16 && dtype != FCM_FLOAT64) return false;
  const auto& dims = layouts[0].dims;
  return std::count_if(dims.begin(), dims.end(), [](int64_t d) { return d != 1; }) == 1 &&
         std::all_of(dims.begin(), dims.end(), [](int64_t d) { return d >= 1; });
}

std::vector<ClassScore> top_classes(const std::vector<double>& scores, size_t top, bool is_softmax) {
  const auto rank = [&](size_t i) { return std::isnan(scores[i]) ? -std::numeric_limits<double>::infinity() : scores[i]; };
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const size_t kept = std::min(top, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(kept), order.end(),
                    [&](size_t a, size_t b) { return rank(a) != rank(b) ? rank(a) > rank(b) : a < b; });
  order.resize(kept);
  double sum = 0;
  const double largest = order.empty() ? 0 : scores[order[0]];
  for (const double score : scores) sum += std::exp(score - largest);
  std::vector<ClassScore> classes;
  for (const size_t i : order) classes.push_back({i, scores[i], is_softmax ? scores[i] : std::exp(scores[i] - largest) / sum});
  return classes;
}

}  // namespace fcm::apps
