// What a series of measurements looks like.
#pragma once

#include <vector>

namespace fcm::apps {

struct Spread {
  double min = 0, mean = 0, median = 0, p90 = 0, p95 = 0, p99 = 0, max = 0;
};

/// Quantiles by linear interpolation between the sorted samples (as numpy.percentile); all zero without samples.
Spread spread_of(std::vector<double> samples);

}  // namespace fcm::apps
