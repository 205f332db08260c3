// Several ranks of one job: their clocks, who was late, and whose GPU is slow.
//
// Matching. The activities of different ranks that belong to one collective are found by, in this
// order: (group, collective, "Seq") where the kernels carry the arguments of a collective; the
// ordinal of the collective in its group where they have no "Seq"; for barriers (DeepEP's notify,
// by role) the ordinal among the kernels of the same name. Only where a job has none of these,
// transfers are matched by kernel name and ordinal, which `notes` says. Point-to-point calls do not
// count.
//
// Clocks. Collectives end at about the same time on all members, so
//
//   offset_r = median over matched collectives i of (end_{r,i} - median over ranks of end_{.,i})
//
// is what the clock of rank r shows too much. Groups that are not of the whole job are put together
// over the ranks they share, largest first; ranks that no collective joins stay in components of
// their own and are not compared. The residual is what is left, as a median absolute deviation.
// Over more than a second a linear drift is taken out as well: the slope between the medians of the
// first and the last third of the residuals (Tukey's resistant line).
//
// Late ranks. wait_{r,i} = (latest start over ranks of i) - start_{r,i}. The *straggler* waits
// least in all: everybody waits for it. It need not be slow itself: a rank is late because of its
// GPU, its host or its share of the work. So each rank's computation is compared as well: for each
// region name, the sum of |U(compute activities)| over the regions, against the median rank. The
// GPU that computes longest is the slow one.
//
//   start skew  latest - first start        end skew  latest - first end
//   latency     shortest duration over the ranks: that of the last to arrive, who does not wait
//   algbw       bytes / latency, bytes the larger of input and output
//   busbw       algbw * 2(n-1)/n for all-reduce, * (n-1)/n for all-gather, reduce-scatter and
//               all-to-all, * 1 for others (the convention of nccl-tests)
//
// Who waited for *whom* cannot be told: a matrix of ranks by ranks needs probes inside of the
// kernels. From traces come only its row and column sums: how long a rank waited, and how often it
// was the last.
//
// Times of the result are on the common clock, in nanoseconds since the first rank's first event.
// Pure functions; sorts dominate.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "trace/activity.h"
#include "trace/json.h"
#include "trace/kernels.h"

namespace hadal::trace {

/// What a trace says about its rank.
struct RankSource {
  std::string path;
  int rank = -1;  // of its distributedInfo; -1: none
};
/// The rank of each trace: what it says itself, else the first number after "rank" or "_r" in its
/// file name, else the only number that differs among the file names, else the order given.
/// kInvalidArgument names two traces of one rank.
Result<std::vector<int>> assign_ranks(std::span<const RankSource> sources);

struct RankUse {
  int rank = 0;
  std::string path;
  int component = 0;         // ranks of one component have comparable clocks; 0 is the largest
  int64_t offset_ns = 0;     // of its clock against the others; at the middle of the matched time
  double drift_ppm = 0;      // parts per million; 0 for a second or less
  int64_t residual_ns = 0;   // median absolute deviation of the ends after the correction
  uint64_t collectives = 0;  // matched ones
  uint64_t last = 0;         // how many of them it was the last to start
  int64_t wait_ns = 0;       // sum of its waits
  double mean_wait_ns = 0;
  int64_t span_ns = 0, compute_ns = 0;  // compute: sum over the regions and what is outside
  double compute_ratio = 1;             // to the median rank; 1 where that is 0
};

/// One member of a collective. `rank` is an index into RanksUse::ranks.
struct CollectiveMember {
  uint32_t rank = 0, activity = 0;
  int64_t start_ns = 0, end_ns = 0;  // common clock
};
struct Collective {
  uint32_t kind = 0;            // in RanksUse::kinds
  int64_t sequence = 0;         // "Seq" or the ordinal
  uint32_t begin = 0, end = 0;  // its members in RanksUse::members
  uint32_t last = 0;            // the rank that started last (index)
  uint64_t bytes = 0;           // the largest of its members; 0: unknown
  int64_t start_skew_ns = 0, end_skew_ns = 0, latency_ns = 0, wait_ns = 0;
  int64_t start_ns = 0;  // the first
};

/// Collectives of one group and name.
struct CollectiveKind {
  std::string collective;  // "allreduce"; the kernel's name where there are no arguments
  std::string group;       // its name and description; empty where there are no arguments
  bool by_sequence = false;
  uint64_t count = 0;
  int num_ranks = 0;  // most members seen
  DurationStats start_skew, end_skew, latency;
  int64_t wait_ns = 0;
  uint64_t bytes = 0;                     // the median; 0: unknown
  double algbw_gb_s = 0, busbw_gb_s = 0;  // the medians of those with bytes; 0: unknown
  uint32_t last = 0;                      // the rank that was last most often (index)
  uint64_t last_count = 0;
};

/// Time of computation in the regions of one name, by rank.
struct RegionCompute {
  std::string name;
  std::vector<int64_t> compute_ns;  // by index of rank; 0: the rank has no such region
  int64_t median_ns = 0;
  uint32_t slowest = 0;  // index
  double ratio = 1;      // of the slowest to the median
};

struct RanksUse {
  std::vector<RankUse> ranks;  // in the order of the views
  int world_size = -1;
  std::vector<int> missing;  // ranks below world_size without a trace
  int num_components = 0;
  std::vector<CollectiveKind> kinds;    // by wait, longest first
  std::vector<Collective> collectives;  // by first start
  std::vector<CollectiveMember> members;
  std::vector<RegionCompute> regions;  // by name
  uint32_t straggler = kNone;          // index; kNone: nothing to compare
  int64_t straggler_lead_ns = 0;       // how much less it waited than the mean of the others
  bool straggler_stands_out = false;   // by more per collective than the clocks are uncertain
  uint32_t slowest_compute = kNone;    // index; kNone: fewer than two ranks compute
  std::vector<std::string> notes;      // what limits the answers, a sentence each
};

/// `ranks` as of assign_ranks(), one for each view.
RanksUse compare_ranks(std::span<const GpuView> views, std::span<const int> ranks);

/// The collectives with the longest waits, longest first, at most `most`.
std::vector<const Collective*> worst_collectives(const RanksUse& use, size_t most);

/// {ranks: [...], straggler, slowest_compute, missing, kinds: [...], worst: [the 20 collectives
/// with the longest waits], regions: [...], notes: [...]}
Json to_json(const RanksUse& use);

}  // namespace hadal::trace
