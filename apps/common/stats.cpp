// What a series of measurements looks like.
#include "apps/common/stats.h"

#include <algorithm>
#include <cstddef>
#include <numeric>

namespace fcm::apps {

Spread spread_of(std::vector<double> samples) {
  if (samples.empty()) return {};
  std::sort(samples.begin(), samples.end());
  const auto quantile = [&](double fraction) {
    const double position = fraction * static_cast<double>(samples.size() - 1);
    const auto below = static_cast<size_t>(position);
    const size_t above = std::min(below + 1, samples.size() - 1);
    return samples[below] + (samples[above] - samples[below]) * (position - static_cast<double>(below));
  };
  const double sum = std::accumulate(samples.begin(), samples.end(), 0.0);
  return {samples.front(), sum / static_cast<double>(samples.size()), quantile(0.5), quantile(0.9), quantile(0.95), quantile(0.99),
          samples.back()};
}

}  // namespace fcm::apps
