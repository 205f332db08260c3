// Synthetic traces of the PyTorch profiler, with the answers that an analysis must find.
//
// A scenario (a schedule, its size, clocks, faults) is run by a small discrete-event machine: a
// host per rank that launches, streams that work in order, events between streams, collectives that
// end together. What happens is written as the profiler would write it, in any generation of its
// format, and at the same time tallied into Answers: by construction (who waited for whom, what a
// fault cost, which chain was critical) or by counting along the sorted edges of the activities.
// Nothing here uses the analyses of this folder, so that the two can be held against each other.
// That is also why all of it lives in a namespace of its own.
//
// Deterministic: a scenario gives the same bytes on every machine and in every build; all
// randomness comes from base/rng.h and `seed`. Steps are simulated, written and forgotten one at a
// time: memory does not grow with the length of a file, except for the durations behind one median.
//
// The host of every step ends with a synchronisation, as in real training loops, so no GPU work
// reaches from one step into the next.
//
// Units: integer nanoseconds. Times of a rank count from the first event of its file, in the rank's
// own clock; times across ranks (collectives) and the critical path are in true time.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace hadal::trace::gen {

enum class Schedule : uint8_t {
  kSequential,      // tensor parallel: compute, then all-reduce, and nothing hidden
  kOverlapped,      // every transfer lies inside a compute kernel: nothing exposed (without faults)
  kDualPipe,        // DeepSeek-V3: the regions of train.json, with DeepEP's kernels and barriers
  kFsdp,            // all-gathers one layer ahead, reduce-scatters behind
  kDdp,             // all-reduce of buckets under the backward pass; the last one is exposed
  kInference,       // decode steps, each one CUDA graph: one launch, many kernels
  kInferenceEager,  // the same without graphs: launch bound
};
inline constexpr std::array<std::string_view, 7> kScheduleNames = {
    "sequential", "overlapped", "dualpipe", "fsdp", "ddp", "inference", "inference-eager"};

/// Generations of the format, by what they write: G1 (2020) "Kernel" and "stream 7"; G2 (2022)
/// whole microseconds since 1970; G3 (2024) nanosecond decimals since a base; G4 (2026) more about
/// kernels.
enum class Format : uint8_t { kG1, kG2, kG3, kG4 };
inline constexpr std::array<std::string_view, 4> kFormatNames = {"G1", "G2", "G3", "G4"};

enum class FaultKind : uint8_t {
  // Of the job.
  kStraggler,      // compute kernels of the rank last AMOUNT % longer
  kLateHost,       // launch calls of the rank last AMOUNT longer
  kSlowLink,       // transfers of the rank last AMOUNT % longer
  kBarrierGrowth,  // barriers last AMOUNT longer with every layer (dualpipe)
  kSyncStall,      // AMOUNT cudaDeviceSynchronize in every step
  kMallocStorm,    // AMOUNT cudaMalloc and cudaFree in every step
  kPageableCopy,   // AMOUNT copies from pageable memory in every step
  kLowOccupancy,   // AMOUNT % of the GEMMs run on 8 blocks and last 4 times as long
  kWaveQuantised,  // AMOUNT % of the GEMMs have one block more than the GPU has SMs: twice as long
  kOverlapPdl,     // AMOUNT % of the compute kernels start 3 us before their predecessor ends
  // Of the profiler.
  kMissingKernels,   // the first AMOUNT GPU activities are not in the file, their launches are
  kNegativeDelay,    // AMOUNT kernels per step start 2 us before their launch call ends
  kZeroTimes,        // AMOUNT % of operators and GPU activities have ts 0 and dur 0 (G1 and G2)
  kLongDuration,     // AMOUNT kernels per step claim to last a week longer
  kOverrun,          // AMOUNT kernels per step claim to end 5 ms too late, beside their successors
  kNestingNoise,     // AMOUNT child operators end 1 ns after their parent (G3 and G4)
  kUnescapedQuote,   // AMOUNT operators have a raw " in their name: not JSON, and lost
  kControl,          // AMOUNT operators have raw control characters in their name
  kInvalidUtf8,      // AMOUNT operators have bytes that are no UTF-8 in their name
  kTrailingComma,    // AMOUNT operators have args that end with ", }"
  kHugeInteger,      // AMOUNT operators have an integer above int64 in their args
  kNumberStrings,    // AMOUNT operators have ts and dur in quotes
  kNotANumber,       // AMOUNT kernels have "blocks per SM": inf
  kNoRank,           // no distributedInfo
  kLateMetadata,     // distributedInfo stands after traceEvents
  kBareArray,        // the file is the array of events, without an object around it
  kUnfinishedArray,  // a bare array whose ] is missing, which Chrome's format allows
  kTruncated,        // the file ends inside of an event
};
inline constexpr int kNumFaultKinds = 28;

struct Fault {
  FaultKind kind = FaultKind::kStraggler;
  int rank = -1;       // -1: all ranks
  int64_t amount = 0;  // percent, nanoseconds or a count, as above
};

/// How a fault is spelled: "straggler:3:20%".
struct FaultInfo {
  std::string_view name;
  char unit;       // '%', 't' a time, 'n' a count, '-' takes no amount
  int64_t amount;  // where none is given
  int64_t most;    // allowed
};
const FaultInfo& info(FaultKind kind);
/// NAME, NAME:RANK or NAME:RANK:AMOUNT; RANK may be "all". kInvalidArgument.
Result<Fault> parse_fault(std::string_view text);
/// "5ms", "200us", "1.5s"; a number alone is microseconds. kInvalidArgument.
Result<int64_t> parse_time(std::string_view text);
/// "1G", "20M", "64K" (powers of ten), "1048576". kInvalidArgument.
Result<int64_t> parse_bytes(std::string_view text);

struct Scenario {
  Schedule schedule = Schedule::kDualPipe;
  Format format = Format::kG3;
  int ranks = 8;          // 1 ... 512; one file each
  int layers = 4;         // 1 ... 1000
  int micro_batches = 1;  // 1 ... 1000; passes over the layers in one step
  int steps = 2;          // 1 ... 1'000'000
  /// Above 0, the length of each file before compression: `steps` is ignored, whole steps are
  /// written while they fit, then one with fewer layers, then polls of the host (cudaEventQuery, of
  /// which real traces are full). Below one step of one layer: kInvalidArgument.
  int64_t bytes = 0;
  uint64_t seed = 1;
  /// Whole microseconds only, as G1 and G2 always have; gives two formats of one schedule.
  bool whole_microseconds = false;
  bool stacks = false;  // python_function events around every operator
  bool shapes = false;  // "Input Dims" and "Input type" on operators
  /// By rank, 0 where the lists end: the clock of rank r shows t + offset + drift * t.
  std::vector<int64_t> clock_offsets_ns = {};
  std::vector<double> clock_drifts_ppm = {};
  std::vector<Fault> faults = {};
};

/// Gives all ranks but 0 clocks that are off by up to these amounts, drawn from the seed.
void spread_clocks(Scenario& scenario, int64_t offset_ns, double drift_ppm);
/// kInvalidArgument with what is wrong.
Result<> validate(const Scenario& scenario);

enum class Work : uint8_t { kCompute, kTransfer, kBarrier, kMemory };

/// One kernel, copy or memset as it stands in a file.
struct Activity {
  int64_t start_ns = 0, end_ns = 0;                // rank's clock, since the first event
  int64_t launch_start_ns = 0, launch_end_ns = 0;  // of the call of the host
  std::string_view name;                           // static
  Work work = Work::kCompute;
  int stream = 0;
  uint32_t correlation = 0;
  int region = -1;  // the how-manieth region of the rank's host, -1: none
};

// Communication is transfers and barriers.
struct Times {
  int64_t span_ns = 0;  // first start to last end
  int64_t busy_ns = 0, idle_ns = 0;
  int64_t compute_ns = 0, communication_ns = 0, memory_ns = 0;  // lengths of unions
  int64_t barrier_ns = 0, transfer_ns = 0;                      // lengths of unions
  int64_t overlap_ns = 0;                                       // communication beside computation
  int64_t exposed_communication_ns = 0;                         // without computation
  int64_t exposed_memory_ns = 0;      // without computation and communication
  int64_t exposed_pieces = 0;         // connected pieces of exposed communication
  int64_t structural_exposed_ns = 0;  // in pieces longer than 10 us
  int64_t structural_pieces = 0;
};

/// A leaf annotation of the host.
struct RegionAnswer {
  std::string_view name;
  int index = 0;  // among those of this name
  int64_t gpu_start_ns = 0, gpu_end_ns = 0, busy_ns = 0;
  int64_t activities = 0;
};
struct RegionTotal {
  std::string_view name;
  int64_t count = 0, activities = 0;
  int64_t busy_ns = 0;  // sum over the regions of the union of each
};
struct KernelTotal {
  std::string_view name;
  int64_t count = 0, total_ns = 0;
};

/// max(0, start of the activity - end of its launch call), over all activities.
struct LaunchDelays {
  int64_t count = 0, total_ns = 0, median_ns = 0, max_ns = 0;  // nearest-rank median
  int64_t negative = 0;                                        // before the clipping at 0
};

/// The chain of waits from a step's last activity back to its first host call, over all steps, in
/// true time. The parts add up to total_ns.
struct CriticalPath {
  int64_t total_ns = 0, compute_ns = 0, communication_ns = 0, memory_ns = 0;
  int64_t host_ns = 0;   // the host prepares a launch
  int64_t delay_ns = 0;  // launch latency, gaps between kernels, return from synchronisation
};

/// Events in the file that a tolerant reader can read, by what they are.
struct EventCounts {
  int64_t cpu_op = 0, user_annotation = 0, gpu_user_annotation = 0;
  int64_t python_function = 0, memory_instant = 0;
  int64_t runtime = 0, driver = 0, kernel = 0, memcpy = 0, memset = 0;
  int64_t flow_start = 0, flow_finish = 0, metadata = 0;
  int64_t other = 0;       // the profiler's own span and two instants
  int64_t unreadable = 0;  // not counted above
};

struct RankAnswers {
  Times times;
  EventCounts events;
  LaunchDelays launch_delays;
  CriticalPath critical_path;
  std::vector<KernelTotal> kernels;       // by name
  std::vector<RegionTotal> regions;       // by name
  std::vector<RegionAnswer> region_list;  // in the host's order; the first kListedMax
  int64_t collective_wait_ns = 0;  // sum over collectives of (last start - own start), true time
  int64_t last_at_collectives = 0;
  int64_t clock_offset_ns = 0;
  double clock_drift_ppm = 0;
  int64_t bytes = 0;          // of the file before compression
  int64_t truncated_at = -1;  // where its last, broken event begins
};

/// Kernels of all ranks that wait for each other: NCCL kernels end together, DeepEP barriers too.
struct CollectiveAnswer {
  std::string_view kernel;
  int64_t sequence = 0;           // "Seq" of NCCL kernels; the ordinal among the barriers
  std::vector<int64_t> start_ns;  // by rank, true time
  int64_t end_ns = 0;             // of all (but for barrier-growth of one rank)
};

/// What a fault did to a rank.
struct Injected {
  Fault fault;           // with its rank
  int64_t count = 0;     // kernels, calls or events that it touched
  int64_t extra_ns = 0;  // that it added to them
};

inline constexpr size_t kListedMax = 4096;
inline constexpr int64_t kStructuralNs = 10'000;

struct Answers {
  int steps = 0;
  std::vector<RankAnswers> ranks;
  int64_t num_collectives = 0;
  std::vector<CollectiveAnswer> collectives;  // the first kListedMax
  /// The rank that waited least at collectives, -1 with fewer than two ranks or no collective; and
  /// how much less than the mean of the others.
  int straggler = -1;
  int64_t straggler_lead_ns = 0;
  std::vector<Injected> injected;
};
/// One object with stable keys; times in microseconds, keys end in _us.
std::string to_json(const Scenario& scenario, const Answers& answers);

/// Takes a piece of a file, in order.
using Sink = std::function<Result<>(std::string_view)>;
/// Sees all activities of a step before they are forgotten.
using Observer = std::function<void(int rank, std::span<const Activity>)>;

/// Writes the trace of rank r to sinks[r]. Fails as validate() and as the sinks.
Result<Answers> generate(const Scenario& scenario, std::span<const Sink> sinks,
                         const Observer& observer = {});

struct Generated {
  std::vector<std::string> documents;             // by rank
  std::vector<std::vector<Activity>> activities;  // by rank, in the order of their launches
  Answers answers;
};
/// The same in memory.
Result<Generated> generate(const Scenario& scenario);

struct GeneratedFiles {
  std::vector<std::string> traces;  // by rank
  std::string answers_path;
  Answers answers;
};
/// The same as files. `path` ends in .json or .json.gz: one file, for a scenario of one rank, and
/// beside it NAME.answers.json. Otherwise it is a directory, made if it does not exist, that gets
/// rank0.json, ... (or rank0.json.gz with `gzip`) and answers.json. Files appear when complete.
Result<GeneratedFiles> generate_files(const Scenario& scenario, const std::string& path, bool gzip);

}  // namespace hadal::trace::gen
