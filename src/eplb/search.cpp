#include "eplb/search.h"

#include "base/check.h"

namespace hadal::eplb {
namespace {

constexpr double kAimFraction = 0.2;  // T = best - 0.2 (best - bound)
constexpr int kTransferOneIn = 4;     // every fourth step tries to change replica counts
constexpr int kStepsPerClockLook = 64;
constexpr int kStepsPerRecompute = 4096;  // bounds the rounding that incremental sums collect

class Search {
 public:
  Search(const Packing& start, double lower_bound, Rng rng)
      : now_(start),
        best_(start),
        best_time_(start.max_time()),
        bound_(lower_bound),
        rng_(rng),
        change_(start.cell().gpus(), 0) {
    aim();
  }

  SearchResult run(const Effort& effort) {
    int64_t step = 0;
    bool cut_short = false;
    for (; step < effort.steps_max && !done(); ++step) {
      if (step % kStepsPerClockLook == 0 && effort.expired()) {
        cut_short = true;
        break;
      }
      if (step % kStepsPerRecompute == 0) now_.recompute();
      // Accepted worsening: at first the bound over the number of slots (0.35 % for 288; larger
      // ones wander, smaller ones get stuck in small cells), then less and less.
      margin_ = bound_ / now_.cell().slots *
                (1 - static_cast<double>(step) / static_cast<double>(effort.steps_max));
      const int hot = pick_hot();
      if (hot < 0) continue;
      if (rng_.below(kTransferOneIn) == 0) {
        try_transfer(hot);
      } else {
        try_swap(hot);
      }
    }
    pick_hot();
    return {best_, step, cut_short};
  }

 private:
  bool done() const { return best_time_ <= bound_ * (1 + kCloseEnough); }
  void aim() { aim_ = std::max(bound_, best_time_ - kAimFraction * (best_time_ - bound_)); }
  double excess(double time) const { return std::max(0.0, time - aim_); }

  // A GPU above the threshold, each with equal probability. If there is none the aim is reached:
  // remembers the placement, aims lower and returns -1.
  int pick_hot() {
    int hot = -1;
    uint64_t seen = 0;
    double max = 0;
    for (int g = 0; g < now_.cell().gpus(); ++g) {
      const double t = now_.time(g);
      max = std::max(max, t);
      if (t > aim_ && rng_.below(++seen) == 0) hot = g;
    }
    if (max < best_time_) {
      best_ = now_;
      best_.recompute();
      best_time_ = best_.max_time();
    }
    if (hot < 0) aim();
    return hot;
  }

  bool accept(double change) { return change <= 0 || change < margin_ * rng_.uniform(); }

  // The best exchange of one replica on `hot` for one on a random other GPU.
  void try_swap(int hot) {
    const Cell& cell = now_.cell();
    if (cell.gpus() < 2) return;
    int other = static_cast<int>(rng_.below(cell.gpus() - 1));
    other += other >= hot;
    const double before = excess(now_.time(hot)) + excess(now_.time(other));
    double best = std::numeric_limits<double>::infinity();
    int best_a = -1, best_b = -1;
    for (const int32_t a : now_.experts_on(hot)) {
      for (const int32_t b : now_.experts_on(other)) {
        const double difference = now_.share(a) - now_.share(b);
        const double change = excess(now_.time_with(hot, -difference)) +
                              excess(now_.time_with(other, difference)) - before;
        if (change >= best || difference == 0) continue;
        if (!now_.can_move(a, hot, other) || !now_.can_move(b, other, hot)) continue;
        best = change, best_a = a, best_b = b;
      }
    }
    if (best_a >= 0 && accept(best)) now_.swap(best_a, hot, best_b, other);
  }

  // Either an expert on `hot` gets one more replica, anywhere, or one leaves `hot`.
  void try_transfer(int hot) {
    const Cell& cell = now_.cell();
    const auto any_on = [&](int gpu) {
      const auto& on = now_.experts_on(gpu);
      return on.empty() ? -1 : static_cast<int>(on[rng_.below(on.size())]);
    };
    const int elsewhere = static_cast<int>(rng_.below(cell.gpus()));
    const bool shrink = rng_.below(2) == 0;
    const int gpu = shrink ? elsewhere : hot;
    const int receiver = any_on(shrink ? hot : elsewhere);
    const int donor = any_on(gpu);
    if (donor < 0 || receiver < 0 || !now_.can_transfer(donor, receiver, gpu)) return;
    touched_.clear();
    now_.for_each_change(donor, receiver, gpu, [&](int g, double change) {
      if (std::find(touched_.begin(), touched_.end(), g) == touched_.end()) touched_.push_back(g);
      change_[g] += change;
    });
    double change = 0;
    for (const int g : touched_) {
      change += excess(now_.time_with(g, change_[g])) - excess(now_.time(g));
      change_[g] = 0;
    }
    if (accept(change)) now_.transfer(donor, receiver, gpu);
  }

  Packing now_;
  Packing best_;
  double best_time_;
  double bound_;
  double aim_ = 0;
  double margin_ = 0;
  Rng rng_;
  std::vector<double> change_;  // per GPU, zero between steps
  std::vector<int> touched_;
};

}  // namespace

SearchResult improve(const Packing& start, double lower_bound, const Effort& effort, Rng rng) {
  SearchResult result = Search(start, lower_bound, rng).run(effort);
  CHECK(result.best.is_valid(), "the search broke a constraint");
  return result;
}

}  // namespace hadal::eplb
