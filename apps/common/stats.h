// What a series of measurements looks like.
#pragma once

#include <vector>

namespace fcm::apps {

struct Spread {
  double min = 0, mean = 0, median = 0, p90 = 0, p95 = 0, p99 = 0, max = 0;
};

/// Quantiles by linear interpolation between the sorted samples (as numpy.percentile); all zero without samples.
Spread spread_of(std::vector<double> samples);

/// The quantile of `fraction` (0..1), likewise.
double quantile_of(std::vector<double> samples, double fraction);
double median_of(std::vector<double> samples);

/// Standard deviation over mean; 0 for fewer than two samples.
double variation_of(const std::vector<double>& samples);

struct Interval {
  double low = 0, high = 0;
};

/// 95 % confidence interval of median(now) / median(before), by percentile bootstrap: both series are drawn anew `draws` times with
/// replacement. Repeatable. Neither series may be empty.
Interval bootstrap_ratio(const std::vector<double>& now, const std::vector<double>& before, int draws = 4000);

}  // namespace fcm::apps
