// Keeps the answers of a synthetic trace, step by step.
//
// The lengths of unions are counted along the sorted starts and ends of the activities, the
// critical path is walked back along the waits that the machine recorded. Neither shares anything
// with the interval sets and graphs of the analyses that are tested against it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "trace/generate.h"
#include "trace/generate_machine.h"

namespace hadal::trace::gen {

/// An interval on one of four lanes, by Work.
struct LaneSpan {
  int64_t start_ns = 0, end_ns = 0;
  Work lane = Work::kCompute;
};
/// The figures of these intervals; span_ns and idle_ns are of these intervals alone.
Times count_times(std::span<const LaneSpan> spans);

/// A rank's clock: true time to the time since the first event of its file.
struct Clock {
  int64_t offset_ns = 0;
  int64_t drift_ppb = 0;
  int64_t resolution_ns = 1;
  int64_t at(int64_t true_ns) const;
};
Clock clock_of(const Scenario& scenario, int rank, int64_t resolution_ns);

class Tally {
 public:
  Tally(const Scenario& scenario, const Machine& machine);
  /// Adds what the machine's step left behind. The activities of a rank stay until the next step.
  void add_step(const Machine& machine);
  std::span<const Activity> activities(int rank) const {
    return ranks_[static_cast<size_t>(rank)].activities;
  }
  const Clock& clock(int rank) const { return ranks_[static_cast<size_t>(rank)].clock; }
  /// The answers but for the counts of events and bytes, which the writers know.
  Answers finish(const Machine& machine);

 private:
  struct Rank {
    Clock clock;
    RankAnswers answers;
    std::vector<Activity> activities;  // of this step
    std::vector<int64_t> delays;
    int64_t first_start_ns = INT64_MAX, last_end_ns = INT64_MIN;
    int64_t num_regions = 0;
  };
  static void add_activities(Rank& tally, const RankState& rank);
  static void add_regions(Rank& tally, const Machine& machine);
  static void add_kernels(Rank& tally);
  static void add_critical_path(CriticalPath& path, const RankState& rank);
  void add_collectives(const Machine& machine);

  std::vector<Rank> ranks_;
  Answers answers_;
};

}  // namespace hadal::trace::gen
