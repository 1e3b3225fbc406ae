// From scores to classes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "apps/fcm-infer/items.h"

namespace fcm::apps {

struct ClassScore {
  size_t index = 0;
  double score = 0;        ///< as the model gives it
  double probability = 0;  ///< the score after softmax, or the score itself when the model ends in one
};

/// True when the outputs are those of a classifier: one float output that has, for one item, a single dimension larger than 1.
bool is_classifier(const std::vector<fcm_port>& outputs, const std::vector<ItemLayout>& layouts);

/// The `top` likeliest classes, best first, equal scores by index; NaN counts as least likely.
std::vector<ClassScore> top_classes(const std::vector<double>& scores, size_t top, bool is_softmax);

}  // namespace fcm::apps
