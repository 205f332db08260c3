#include "eplb/pairs.h"

#include <cmath>
#include <numeric>

namespace hadal::eplb {
namespace {

constexpr double kPrecision = 1e-6;  // relative; bisection stops here
constexpr int64_t kStepsPerThreshold = 2000;

enum class Answer { kYes, kNo, kUnknown };

// Decides whether counts exist whose fold stays within a threshold.
class Fold {
 public:
  explicit Fold(const Cell& cell) : cell_(cell), count_(cell.experts()) {}

  const std::vector<int>& counts() const { return count_; }
  int64_t steps() const { return steps_; }

  Answer decide(double threshold, int64_t steps_max) {
    threshold_ = threshold;
    steps_end_ = steps_ + steps_max;
    int spare = cell_.slots;
    sizes_.clear();
    for (int e = 0; e < cell_.experts(); ++e) {
      count_[e] = std::max(cell_.count_min[e], fewest(e));
      if (count_[e] > cell_.count_max[e]) return Answer::kNo;
      spare -= count_[e];
      if (spare < 0) return Answer::kNo;
      sizes_.insert(sizes_.end(), count_[e], cell_.load[e] / count_[e]);
    }
    std::sort(sizes_.begin(), sizes_.end());
    return branch(spare);
  }

 private:
  // The fewest replicas of expert e that each fit the threshold.
  int fewest(int e) const {
    const double load = cell_.load[e];
    int count = std::max(1, static_cast<int>(std::min(std::ceil(load / threshold_), 1e9)));
    while (load / count > threshold_) ++count;
    while (count > 1 && load / (count - 1) <= threshold_) --count;
    return count;
  }

  // The larger member of the first pair that breaks the threshold when the spare slots count as
  // empty replicas; none if the fold holds.
  std::optional<double> broken(int spare) const {
    const int slots = cell_.slots;
    for (int low = 0; low < slots / 2; ++low) {
      const double small = low < spare ? 0 : sizes_[low - spare];
      const double large = sizes_[slots - 1 - low - spare];
      if (small + large > threshold_) return large;
    }
    return std::nullopt;
  }

  void set_count(int e, int count) {
    const double old_size = cell_.load[e] / count_[e];
    const auto at = std::lower_bound(sizes_.begin(), sizes_.end(), old_size);
    sizes_.erase(at, at + count_[e]);
    count_[e] = count;
    const double size = cell_.load[e] / count;
    sizes_.insert(std::lower_bound(sizes_.begin(), sizes_.end(), size), count, size);
  }

  // How much expert e, with `count` replicas, weighs against a pair whose larger member is `large`:
  // its replicas at least that large, and its replicas too large to go with it. The fold holds
  // there if these sum to at most the slots (Hall's condition).
  int weight(int e, int count, double large) const {
    const double size = cell_.load[e] / count;
    return count * ((size >= large) + (size > threshold_ - large));
  }

  Answer branch(int spare) {
    if (++steps_ > steps_end_) return Answer::kUnknown;
    const std::optional<double> large = broken(spare);
    if (spare == 0) return large ? Answer::kNo : Answer::kYes;
    bool unknown = false;
    // Any answer must lower the weight of some expert at the broken pair; if none is broken the
    // slots must still go somewhere, lightest experts first, which harm least.
    for (const auto& [e, extra] : choices(spare, large)) {
      const int count = count_[e];
      set_count(e, count + extra);
      const Answer answer = branch(spare - extra);
      if (answer == Answer::kYes) return answer;
      set_count(e, count);
      unknown |= answer == Answer::kUnknown;
      if (steps_ > steps_end_) return Answer::kUnknown;
    }
    return unknown ? Answer::kUnknown : Answer::kNo;
  }

  std::vector<std::pair<int, int>> choices(int spare, std::optional<double> large) const {
    std::vector<std::pair<int, int>> found;
    for (int e = 0; e < cell_.experts(); ++e) {
      for (int extra = 1; extra <= spare && count_[e] + extra <= cell_.count_max[e]; ++extra) {
        if (!large) {
          found.emplace_back(e, extra);
          break;
        }
        if (weight(e, count_[e] + extra, *large) < weight(e, count_[e], *large)) {
          found.emplace_back(e, extra);
        }
      }
    }
    std::stable_sort(found.begin(), found.end(), [&](const auto& a, const auto& b) {
      return cell_.load[a.first] / count_[a.first] < cell_.load[b.first] / count_[b.first];
    });
    if (large) std::reverse(found.begin(), found.end());
    return found;
  }

  const Cell& cell_;
  double threshold_ = 0;
  std::vector<int> count_;
  std::vector<double> sizes_;  // of all replicas, ascending
  int64_t steps_ = 0;
  int64_t steps_end_ = 0;
};

// Largest with smallest; where that would put an expert with itself, its partner is exchanged with
// the next pair's.
Packing fold_onto_gpus(const Cell& cell, const std::vector<int>& count) {
  std::vector<std::pair<double, int32_t>> replicas;
  for (int e = 0; e < cell.experts(); ++e) {
    replicas.insert(replicas.end(), count[e], {cell.load[e] / count[e], e});
  }
  std::sort(replicas.begin(), replicas.end());
  const int gpus = cell.gpus();
  std::vector<std::vector<int32_t>> on(gpus);
  for (int g = 0; g < gpus; ++g) {
    on[g] = {replicas[2 * gpus - 1 - g].second, replicas[g].second};
  }
  const auto clash = [&](int g) { return on[g][0] == on[g][1]; };
  for (int g = 0; g < gpus; ++g) {
    for (int step = 1; clash(g) && step < gpus; ++step) {
      for (const int other : {g - step, g + step}) {
        if (other < 0 || other >= gpus || !clash(g)) continue;
        std::swap(on[g][1], on[other][1]);
        if (clash(g) || clash(other)) std::swap(on[g][1], on[other][1]);
      }
    }
  }
  return {cell, std::move(on)};
}

}  // namespace

bool is_pairs(const Cell& cell) {
  const auto is = [](auto value) { return [value](auto x) { return x == value; }; };
  return cell.gpus() > 1 && cell.slots == 2 * cell.gpus() && cell.pins.empty() &&
         cell.nodes_min <= 1 && std::all_of(cell.capacity.begin(), cell.capacity.end(), is(2)) &&
         std::all_of(cell.speed.begin(), cell.speed.end(), is(cell.speed.front()));
}

PairsResult solve_pairs(const Cell& cell, double known, double lower_bound, const Effort& effort) {
  const double speed = cell.speed.front();
  PairsResult result;
  result.lower_bound = lower_bound;
  Fold fold(cell);
  double low = lower_bound, high = known;
  while (high - low > kPrecision * high && fold.steps() < effort.steps_max) {
    if (effort.expired()) {
      result.cut_short = true;
      break;
    }
    const double middle = 0.5 * (low + high);
    const int64_t steps = std::min(kStepsPerThreshold, effort.steps_max - fold.steps());
    const Answer answer = fold.decide(middle * speed, steps);
    if (answer != Answer::kYes) {
      low = middle;
      if (answer == Answer::kNo) result.lower_bound = middle;  // and so for every smaller threshold
      continue;
    }
    Packing placement = fold_onto_gpus(cell, fold.counts());
    high = std::min(middle, placement.max_time());
    if (placement.duplicates_allowed()) continue;
    if (!result.best || placement.max_time() < result.best->max_time()) {
      result.best = std::move(placement);
    }
  }
  result.steps = fold.steps();
  return result;
}

}  // namespace hadal::eplb
