// What can be said and done about weighted dispatch when the placement is free: a bound over all
// placements, and a local search.
#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <utility>

#include <fmt/core.h>

#include "base/rng.h"
#include "eplb/dispatch.h"

namespace hadal::eplb {
namespace {

/// Rounds up, but lets a value just above an integer pass as that integer: a bound may be too low
/// by rounding, never too high.
int64_t ceil_safely(double x) {
  return static_cast<int64_t>(std::ceil(x - 1e-10));
}

/// Whether the parts that T requires fit into the slots, and the large ones (above T*s/k) too.
class PartCount {
 public:
  PartCount(std::span<const double> load, std::span<const int32_t> capacity,
            std::span<const double> speed)
      : load_(load), capacity_(capacity), speed_(speed) {
    for (const int32_t c : capacity) slots_ += c;
    for (const double s : speed) fastest_ = std::max(fastest_, s);
    if (speed.empty()) fastest_ = 1;
  }

  bool fits(double time, int k) const {
    const int64_t spare = slots_ - count_parts(time);
    if (spare < 0) return false;
    if (k == 1) return true;
    int64_t large = 0;                      // parts above the threshold that must exist
    int64_t first_steps[kThresholds] = {};  // experts by the cost of losing their first large part
    for (const double load : load_) {
      const double units = load / (time * fastest_);
      const int64_t excess = ceil_safely(k * units) - std::max<int64_t>(1, ceil_safely(units));
      if (excess <= 0) continue;
      large += (excess + k - 2) / (k - 1);
      ++first_steps[(excess - 1) % (k - 1) + 1];
    }
    return large - reducible(spare, k, first_steps, large) <= large_room(k);
  }

  static constexpr int kThresholds = 9;

 private:
  int64_t count_parts(double time) const {
    int64_t parts = 0;
    for (const double load : load_) {
      parts += std::max<int64_t>(1, ceil_safely(load / (time * fastest_)));
    }
    return parts;
  }

  /// How many of `large` parts vanish if `spare` more parts are given out, cheapest first.
  static int64_t reducible(int64_t spare, int k, const int64_t* first_steps, int64_t large) {
    int64_t reduced = 0;
    for (int cost = 1; cost < k; ++cost) {
      const int64_t taken = std::min(first_steps[cost], spare / cost);
      reduced += taken;
      spare -= taken * cost;
      if (taken < first_steps[cost]) return reduced;
    }
    return std::min(large, reduced + spare / (k - 1));
  }

  int64_t large_room(int k) const {
    int64_t room = 0;
    for (size_t g = 0; g < capacity_.size(); ++g) {
      const double relative = speed_.empty() ? 1.0 : speed_[g] / fastest_;
      // Fewer than k*relative parts above T*s/k fit; count one that fits but for rounding.
      const int64_t most =
          static_cast<int64_t>(std::ceil(k * relative + 1e-10 * (relative < 1))) - 1;
      room += std::min<int64_t>(capacity_[g], most);
    }
    return room;
  }

  std::span<const double> load_;
  std::span<const int32_t> capacity_;
  std::span<const double> speed_;
  int64_t slots_ = 0;
  double fastest_ = 0;
};

/// The state of improve_weighted(): a placement, the best split of it, and slots sorted into those
/// of the tight GPUs and the others.
class Search {
 public:
  Search(Placement& placement, std::span<const double> load, uint64_t seed)
      : placement_(placement), load_(load), rng_(seed) {
    const size_t slots = placement.slot_expert.size();
    count_.assign(static_cast<size_t>(placement.num_experts), 0);
    gpu_of_.assign(slots, 0);
    for (size_t g = 0; g + 1 < placement.gpu_first_slot.size(); ++g) {
      for (int32_t s = placement.gpu_first_slot[g]; s < placement.gpu_first_slot[g + 1]; ++s) {
        gpu_of_[s] = static_cast<int32_t>(g);
      }
    }
    for (const int32_t e : placement.slot_expert) {
      if (e >= 0) ++count_[e];
    }
  }

  Result<double> run(std::span<const double> gpu_speed, int64_t steps_max) {
    TRY(splitter_.bind(placement_, gpu_speed));
    double best = TRY(splitter_.split(load_));
    classify();
    for (int64_t step = 0; step < steps_max; ++step) {
      if (inside_.empty() || outside_.empty() || !propose()) break;
      apply();
      TRY(splitter_.bind(placement_, gpu_speed));
      const double time = TRY(splitter_.split(load_));
      // Moves that change nothing are kept as well: the tight set often has several equal peers,
      // and only a walk among them reaches the next lower T.
      if (time <= best * (1 + 1e-12)) {
        best = std::min(best, time);
        classify();
      } else {
        revert();
      }
    }
    TRY(splitter_.bind(placement_, gpu_speed));
    return splitter_.split(load_);
  }

 private:
  struct Change {
    int32_t slot;
    int32_t before;
    int32_t after;
  };

  void classify() {
    inside_.clear();
    outside_.clear();
    for (size_t slot = 0; slot < gpu_of_.size(); ++slot) {
      const bool tight = splitter_.gpu_is_tight()[gpu_of_[slot]] != 0;
      const int32_t expert = placement_.slot_expert[slot];
      if (!tight) outside_.push_back(static_cast<int32_t>(slot));
      if (tight && expert >= 0 && load_[expert] > 0) inside_.push_back(static_cast<int32_t>(slot));
    }
    time_ = splitter_.gpu_time();
  }

  bool hosts(int32_t gpu, int32_t expert) const {
    for (int32_t s = placement_.gpu_first_slot[gpu]; s < placement_.gpu_first_slot[gpu + 1]; ++s) {
      if (placement_.slot_expert[s] == expert) return true;
    }
    return false;
  }

  /// Picks a loaded expert in the tight set and a slot outside: gives the slot to the expert if its
  /// present one can do without, otherwise swaps. Several tries, for many picks are useless.
  bool propose() {
    for (int attempt = 0; attempt < 64; ++attempt) {
      const int32_t from = inside_[rng_.below(inside_.size())];
      int32_t to = outside_[rng_.below(outside_.size())];
      const int32_t other = outside_[rng_.below(outside_.size())];
      if (time_[gpu_of_[other]] < time_[gpu_of_[to]]) to = other;
      const int32_t a = placement_.slot_expert[from];
      const int32_t b = placement_.slot_expert[to];
      if (a == b || hosts(gpu_of_[to], a)) continue;
      const bool spare = b < 0 || count_[b] > 1;
      if (spare && rng_.chance(0.5)) {
        changes_ = {Change{to, b, a}, Change{-1, 0, 0}};
        return true;
      }
      if (b >= 0 && hosts(gpu_of_[from], b)) continue;
      changes_ = {Change{from, a, b}, Change{to, b, a}};
      return true;
    }
    return false;
  }

  void apply() {
    for (const Change& change : changes_) set(change.slot, change.before, change.after);
  }
  void revert() {
    for (const Change& change : changes_) set(change.slot, change.after, change.before);
  }
  void set(int32_t slot, int32_t before, int32_t after) {
    if (slot < 0) return;
    placement_.slot_expert[slot] = after;
    if (before >= 0) --count_[before];
    if (after >= 0) ++count_[after];
  }

  Placement& placement_;
  std::span<const double> load_;
  std::span<const double> time_;  // of the splitter's last accepted or tried split
  Rng rng_;
  Splitter splitter_;
  std::vector<int32_t> count_;
  std::vector<int32_t> gpu_of_;
  std::vector<int32_t> inside_;
  std::vector<int32_t> outside_;
  std::array<Change, 2> changes_{};
};

}  // namespace

Result<double> weighted_bound(std::span<const double> load, std::span<const int32_t> gpu_capacity,
                              std::span<const double> gpu_speed) {
  int64_t slots = 0;
  for (size_t g = 0; g < gpu_capacity.size(); ++g) {
    if (gpu_capacity[g] < 0) {
      return fail(Code::kInvalidArgument,
                  fmt::format("gpu_capacity[{}] is {}; it must be >= 0", g, gpu_capacity[g]));
    }
    slots += gpu_capacity[g];
  }
  if (slots < static_cast<int64_t>(load.size())) {
    return fail(Code::kInvalidArgument,
                fmt::format("the GPUs have {} slots; {} experts need at least as many", slots,
                            load.size()));
  }
  if (!gpu_speed.empty() && gpu_speed.size() != gpu_capacity.size()) {
    return fail(Code::kInvalidArgument,
                fmt::format("gpu_speed has {} values; it must have {} or none", gpu_speed.size(),
                            gpu_capacity.size()));
  }
  double speed = 0;
  for (size_t g = 0; g < gpu_capacity.size(); ++g) {
    const double s = gpu_speed.empty() ? 1.0 : gpu_speed[g];
    if (!(s > 0)) {
      return fail(Code::kInvalidArgument, fmt::format("gpu_speed[{}] is {}; it must be > 0", g, s));
    }
    if (gpu_capacity[g] > 0) speed += s;
  }
  double largest = 0;
  for (size_t e = 0; e < load.size(); ++e) {
    if (!(load[e] >= 0) || std::isinf(load[e])) {
      return fail(Code::kInvalidArgument,
                  fmt::format("load[{}] is {}; it must be finite and >= 0", e, load[e]));
    }
    largest = std::max(largest, load[e]);
  }
  if (largest == 0) return 0.0;

  const PartCount parts(load, gpu_capacity, gpu_speed);
  double bound = std::accumulate(load.begin(), load.end(), 0.0) / speed;
  for (int k = 1; k < PartCount::kThresholds; ++k) {
    if (parts.fits(bound, k)) continue;
    double low = bound;  // does not fit
    double high = bound;
    while (!parts.fits(high, k)) high *= 2;
    while (high - low > low * 1e-12) {
      const double middle = low + (high - low) / 2;
      if (middle <= low || middle >= high) break;
      (parts.fits(middle, k) ? high : low) = middle;
    }
    bound = low;
  }
  return bound;
}

Result<double> improve_weighted(Placement& placement, std::span<const double> load,
                                std::span<const double> gpu_speed, const ImproveOptions& options) {
  if (load.size() != static_cast<size_t>(placement.num_experts)) {
    return fail(Code::kInvalidArgument, fmt::format("load has {} values; it must have {}",
                                                    load.size(), placement.num_experts));
  }
  Splitter checker;  // refuses a bad placement before Search indexes by it
  TRY(checker.bind(placement, gpu_speed));
  Search search(placement, load, options.seed);
  return search.run(gpu_speed, options.steps_max);
}

}  // namespace hadal::eplb
