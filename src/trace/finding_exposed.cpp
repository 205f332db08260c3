// Exposed communication by cause, and barriers.
#include <algorithm>
#include <map>

#include <fmt/core.h>

#include "trace/finding_rules.h"
#include "trace/replay.h"

namespace hadal::trace {
namespace {

// Below this share of the communication, waiting at barriers is not worth a finding.
constexpr double kBarrierShareMin = 0.05;
constexpr double kBarrierShareHigh = 0.15;
// Growth of a barrier over the instances of a region that is worth a word: of its mean per
// instance.
constexpr double kGrowthMin = 0.1;

std::string text_us(int64_t ns) {
  return shown(cell(ns), Unit::kTime);
}

/// What ran in a piece of exposed time, and what came after it.
struct Piece {
  Interval time;
  uint32_t cause = kNone;     // the communication that fills most of it
  uint32_t released = kNone;  // the computation that starts within kReleaseNs of its end
  int64_t barrier_ns = 0;
};

class Pieces {
 public:
  explicit Pieces(const GpuView& view) : view_(view) {
    for (uint32_t i = 0; i < view.activities.size(); ++i) {
      const Activity& a = view.activities[i];
      longest_ns_ = std::max(longest_ns_, a.duration_ns());
      if (a.kind == Class::kCommunication) communication_.push_back(i);
      if (a.kind == Class::kCompute) compute_.push_back(i);
    }
  }

  Piece look_at(Interval time) const {
    Piece piece{.time = time};
    int64_t most = 0;
    // Activities are sorted by start: what reaches into the piece starts at most the longest
    // duration before it.
    for (auto i = first_from(communication_, time.start - longest_ns_);
         i != communication_.end() && view_.activities[*i].start_ns < time.end; ++i) {
      const Activity& a = view_.activities[*i];
      const int64_t common = std::min(a.end_ns, time.end) - std::max(a.start_ns, time.start);
      if (common <= 0) continue;
      if (a.role == Role::kBarrier) piece.barrier_ns += common;
      if (common > most) {
        most = common;
        piece.cause = *i;
      }
    }
    const auto next = first_from(compute_, time.end);
    if (next != compute_.end() && view_.activities[*next].start_ns <= time.end + kReleaseNs) {
      piece.released = *next;
    }
    return piece;
  }

 private:
  std::vector<uint32_t>::const_iterator first_from(const std::vector<uint32_t>& list,
                                                   int64_t start) const {
    return std::ranges::lower_bound(list, start, {},
                                    [&](uint32_t i) { return view_.activities[i].start_ns; });
  }

  const GpuView& view_;
  std::vector<uint32_t> communication_, compute_;
  int64_t longest_ns_ = 0;
};

/// The region of an activity, or its kernel where it has none.
std::string label_of(const GpuView& view, uint32_t activity) {
  if (activity == kNone) return "nothing in the trace";
  const Activity& a = view.activities[activity];
  return a.region == kNone ? short_name(view.name_of(a)) : region_label(view, a.region);
}

/// "the first of its kind", "the last ...": where warm-up and drain of a schedule show.
std::string position_of(const GpuView& view, uint32_t activity) {
  if (activity == kNone || view.activities[activity].region == kNone) return "";
  const Region& region = view.regions[view.activities[activity].region];
  int last = 0;
  for (const Region& other : view.regions) {
    if (other.name == region.name) last = std::max(last, other.index);
  }
  if (last == 0) return "";
  if (region.index == 0) return "; it is the first of its kind, where a schedule warms up";
  return region.index == last ? "; it is the last of its kind, where a schedule drains" : "";
}

Finding exposed_finding(const GpuView& view, const std::string& cause,
                        const std::vector<Piece>& pieces) {
  Finding f{.id = "exposed:" + cause};
  int64_t barrier_ns = 0, longest = -1;
  const Piece* main = &pieces.front();
  for (const Piece& piece : pieces) {
    f.recoverable.push_back(piece.time);
    barrier_ns += piece.barrier_ns;
    f.evidence.push_back(
        {piece.time, fmt::format("{} alone, then {}", cause, label_of(view, piece.released))});
    if (piece.time.length() > longest) {
      longest = piece.time.length();
      main = &piece;
    }
  }
  const int64_t sum = length(f.recoverable);
  const std::string waiter = label_of(view, main->released);
  f.claim =
      fmt::format("{} waited {} us for {}: communication with nothing to compute beside it, {}{}",
                  waiter, text_us(sum), cause,
                  barrier_ns * 2 > sum ? fmt::format("{} us of it a barrier", text_us(barrier_ns))
                                       : "mostly transfer",
                  position_of(view, main->cause));
  if (main->released == kNone) {
    f.claim = fmt::format("{} us of {} had nothing to compute beside it, and nothing followed{}",
                          text_us(sum), cause, position_of(view, main->cause));
  }
  f.action = barrier_ns * 2 > sum
                 ? fmt::format(
                       "Find who is late: compare the ranks' traces (hadal trace ranks). "
                       "Independent work placed before {} hides the wait.",
                       waiter)
                 : fmt::format(
                       "Start {} earlier, or place independent work (weight gradients, "
                       "another micro-batch) between it and {}.",
                       cause, waiter);
  return f;
}

/// "combine(F) 1,323 > 2,186 > 3,674 us": the barriers of a region's instances.
std::string growth_text(const RoleInRegions& row) {
  std::string text = row.region;
  constexpr size_t kShownMax = 8;
  for (size_t i = 0; i < std::min(row.sum_ns.size(), kShownMax); ++i) {
    text += fmt::format("{} {}", i == 0 ? "" : " >", text_us(row.sum_ns[i]));
  }
  return text + (row.sum_ns.size() > kShownMax ? " ... us" : " us");
}

}  // namespace

void find_exposed(const Analyses& a, FindingList& out) {
  const Pieces pieces(a.view);
  std::map<std::string, std::vector<Piece>> by_cause;
  for (const Interval& time : a.summary.structural_exposed) {
    const Piece piece = pieces.look_at(time);
    by_cause[label_of(a.view, piece.cause)].push_back(piece);
  }
  for (const auto& [cause, list] : by_cause) out.push_back(exposed_finding(a.view, cause, list));

  const int64_t small = a.summary.exposed_communication_ns - a.summary.structural_exposed_ns;
  if (small <= 0) return;
  // No gain is claimed: the gaps themselves are a finding of their own (launch:kernel-wait).
  Finding f{.id = "exposed:launch-gaps"};
  const IntervalSet holes = subtract(a.summary.exposed, a.summary.structural_exposed);
  f.claim = fmt::format(
      "{} us of exposed communication are {} holes of at most {} us between kernels that follow "
      "one "
      "another: not the schedule's fault",
      text_us(small), holes.size(), kLaunchGapNs / 1000);
  f.action = "Leave it, unless kernels can be merged or their launches shortened.";
  for (const Interval& time : holes) f.evidence.push_back({time, "hole between kernels"});
  out.push_back(std::move(f));
}

void find_barriers(const Analyses& a, FindingList& out) {
  const RoleUse& barrier = a.comm.roles[1];
  if (a.comm.sum_ns == 0) return;
  const double share = static_cast<double>(barrier.sum_ns) / static_cast<double>(a.comm.sum_ns);
  if (share < kBarrierShareMin) return;

  Finding f{.id = "barrier:share", .confidence = Confidence::kInferred};
  std::vector<Interval> times;
  for (const Activity& activity : a.view.activities) {
    if (activity.role != Role::kBarrier) continue;
    times.push_back({activity.start_ns, activity.end_ns});
    f.evidence.push_back({times.back(), region_label(a.view, activity.region)});
  }
  f.recoverable = intersect(unite(std::move(times)), a.summary.exposed);
  std::string grows;
  int growing = 0;
  for (const RoleInRegions& row : a.comm.by_region) {
    int64_t sum = 0;
    for (const int64_t ns : row.sum_ns) sum += ns;
    const double mean = static_cast<double>(sum) / static_cast<double>(row.sum_ns.size());
    if (row.role != Role::kBarrier || row.slope_ns <= kGrowthMin * mean) continue;
    ++growing;
    grows += fmt::format("{}{} ({:+.0f} us each)", growing == 1 ? "" : "; ", growth_text(row),
                         row.slope_ns / 1000);
  }
  f.claim = fmt::format(
      "{:.1f} % of communication time ({} of {} us) is waiting at barriers, not transfer{}{}",
      100 * share, text_us(barrier.sum_ns), text_us(a.comm.sum_ns),
      growing > 0 ? ", and it grows: " : "", grows);
  if (const auto scenario = parse_scenario("barrier=0")) {
    f.claim += fmt::format("; without any of it the span would be {} us shorter",
                           text_us(what_if(replay_graph(a.view), *scenario).gain_ns()));
  }
  f.action = share > kBarrierShareHigh && growing > 0
                 ? "Ranks drift apart: look at the slowest rank's compute and at expert load "
                   "balance. One trace cannot name it; hadal trace ranks with all traces can."
                 : "Compare the ranks' traces (hadal trace ranks) to see who is late.";
  out.push_back(std::move(f));
}

}  // namespace hadal::trace
