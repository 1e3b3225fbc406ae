// What a series of measurements looks like.
#include "apps/common/stats.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <random>

namespace fcm::apps {
namespace {

double quantile_of_sorted(const std::vector<double>& sorted, double fraction) {
  const double position = fraction * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(position);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (position - static_cast<double>(below));
}

}  // namespace

Spread spread_of(std::vector<double> samples) {
  if (samples.empty()) return {};
  std::sort(samples.begin(), samples.end());
  const auto quantile = [&](double fraction) { return quantile_of_sorted(samples, fraction); };
  const double sum = std::accumulate(samples.begin(), samples.end(), 0.0);
  return {samples.front(), sum / static_cast<double>(samples.size()), quantile(0.5), quantile(0.9), quantile(0.95), quantile(0.99),
          samples.back()};
}

double quantile_of(std::vector<double> samples, double fraction) {
  if (samples.empty()) return 0;
  std::sort(samples.begin(), samples.end());
  return quantile_of_sorted(samples, fraction);
}

double median_of(std::vector<double> samples) {
  return quantile_of(std::move(samples), 0.5);
}

double variation_of(const std::vector<double>& samples) {
  if (samples.size() < 2) return 0;
  const auto count = static_cast<double>(samples.size());
  const double mean = std::accumulate(samples.begin(), samples.end(), 0.0) / count;
  double squares = 0;
  for (const double sample : samples) squares += (sample - mean) * (sample - mean);
  return mean == 0 ? 0 : std::sqrt(squares / (count - 1)) / mean;
}

Interval bootstrap_ratio(const std::vector<double>& now, const std::vector<double>& before, int draws) {
  std::minstd_rand random(1);  // NOLINT(cert-msc51-cpp): the same interval every time
  const auto drawn_median = [&](const std::vector<double>& from) {
    std::uniform_int_distribution<size_t> pick(0, from.size() - 1);
    std::vector<double> drawn(from.size());
    for (double& value : drawn) value = from[pick(random)];
    return median_of(std::move(drawn));
  };
  std::vector<double> ratios;
  for (int i = 0; i < draws; ++i) {
    const double above = drawn_median(now);
    ratios.push_back(above / drawn_median(before));
  }
  std::sort(ratios.begin(), ratios.end());
  return {quantile_of_sorted(ratios, 0.025), quantile_of_sorted(ratios, 0.975)};
}

}  // namespace fcm::apps
