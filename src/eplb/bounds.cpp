#include "eplb/bounds.h"

#include <cmath>
#include <numeric>
#include <queue>

namespace hadal::eplb {
namespace {

constexpr double kTolerance = 1e-7;

// The smallest count with load / count <= limit, without trusting one division.
int count_for(double load, double limit) {
  const double quotient = std::ceil(load / limit);
  if (quotient > 1e9) return 1'000'000'000;
  int count = std::max(1, static_cast<int>(quotient));
  while (load / count > limit) ++count;
  while (count > 1 && load / (count - 1) <= limit) --count;
  return count;
}

double replica_bound(const Cell& cell, double speed_max) {
  std::vector<int> count = cell.count_min;
  std::priority_queue<std::pair<double, int>> largest;
  for (int e = 0; e < cell.experts(); ++e) largest.emplace(cell.load[e] / count[e], e);
  int spare = cell.slots - std::accumulate(count.begin(), count.end(), 0);
  for (; spare > 0; --spare) {
    const int e = largest.top().second;
    if (count[e] >= cell.count_max[e]) break;  // the largest replica cannot shrink any more
    largest.pop();
    largest.emplace(cell.load[e] / ++count[e], e);
  }
  return largest.empty() ? 0 : largest.top().first / speed_max;
}

// True if no placement finishes by T because too many replicas are heavier than T speed / k.
class Counting {
 public:
  Counting(const Cell& cell, double speed_max) : cell_(cell), speed_max_(speed_max) {}

  bool fails(double time, int k) {
    int room = 0;
    for (const int capacity : cell_.capacity) room += std::min(capacity, k - 1);
    const double limit = time * speed_max_;
    int spare = cell_.slots;
    double heavy = 0;
    offers_.clear();
    for (int e = 0; e < cell_.experts(); ++e) {
      const int count = std::max(cell_.count_min[e], count_for(cell_.load[e], limit));
      if (count > cell_.count_max[e]) return true;
      spare -= count;
      if (cell_.load[e] / count <= limit / k) continue;
      heavy += count;
      const int light = count_for(cell_.load[e], limit / k);
      if (light <= cell_.count_max[e]) offers_.emplace_back(light - count, count);
    }
    if (spare < 0) return true;
    std::sort(offers_.begin(), offers_.end(), [](const auto& a, const auto& b) {
      return static_cast<int64_t>(a.first) * b.second < static_cast<int64_t>(b.first) * a.second;
    });
    for (const auto& [slots, replicas] : offers_) {
      if (spare <= 0) break;
      heavy -= replicas * std::min(1.0, static_cast<double>(spare) / slots);
      spare -= slots;
    }
    return heavy > room * (1 + 1e-12);
  }

 private:
  const Cell& cell_;
  double speed_max_;
  std::vector<std::pair<int, int>> offers_;  // (slots it costs, heavy replicas it removes)
};

}  // namespace

double quick_bound(const Cell& cell) {
  const double speed_max = *std::max_element(cell.speed.begin(), cell.speed.end());
  return std::max(cell.total_load() / cell.total_speed(), replica_bound(cell, speed_max));
}

double lower_bound(const Cell& cell) {
  double bound = quick_bound(cell);
  if (bound <= 0) return 0;
  const double speed_max = *std::max_element(cell.speed.begin(), cell.speed.end());
  const int capacity_max = *std::max_element(cell.capacity.begin(), cell.capacity.end());
  Counting counting(cell, speed_max);
  for (int k = 2; k <= capacity_max; ++k) {
    if (!counting.fails(bound, k)) continue;
    double low = bound, high = 2 * bound;
    while (counting.fails(high, k)) low = std::exchange(high, 2 * high);
    while (high - low > kTolerance * low) {
      const double middle = 0.5 * (low + high);
      (counting.fails(middle, k) ? low : high) = middle;
    }
    bound = low;
  }
  return bound;
}

}  // namespace hadal::eplb
