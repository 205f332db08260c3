// The discrete-event machine behind synthetic traces: hosts, streams, events, collectives.
//
// A schedule (generate_schedules.h) is a program in the vocabulary of this class. Every call
// happens on every rank, in program order, and is resolved at once: a kernel starts when its launch
// has arrived, its stream is free and the events that the stream waits for have happened; a
// collective ends for all ranks a transfer after the last of them started. That is exact, because
// all ranks run one program and streams work in order, so nothing later can change what is already
// placed.
//
// The records of a step are kept, in true time, until clear(). All durations are multiples of the
// scenario's resolution. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "trace/generate.h"
#include "trace/generate_catalog.h"

namespace hadal::trace::gen {

enum class OpKind : uint8_t { kCpuOp, kAnnotation, kStep, kPython, kMemory };

/// An event of the host that is no API call.
struct Op {
  int64_t start_ns = 0, end_ns = 0;
  std::string_view name;
  uint32_t external_id = 0;
  uint32_t sequence = 0;  // "Sequence number", the number of a step, or bytes of a [memory] event
  OpKind kind = OpKind::kCpuOp;
  bool autograd = false;
  int8_t damage = -1;  // a FaultKind, -1: none
};

/// When the host was last made to wait: by which item, until when. -1: since the step began.
struct Anchor {
  int64_t time_ns = 0;
  int32_t item = -1;
  bool at_start = false;  // it waited for the item's start, because the launch queue was full
};

/// A call of the CUDA API.
struct Call {
  int64_t start_ns = 0, end_ns = 0;
  uint32_t correlation = 0, external_id = 0;
  uint32_t first_work = 0, num_work = 0;  // what it launched, in Rank::work
  Api api = Api::kLaunchKernel;
  bool autograd = false;
  Anchor anchor;  // of the host when it launched
};

/// A kernel, copy or memset.
struct WorkItem {
  int64_t start_ns = 0, end_ns = 0;
  int32_t after = -1;     // the item whose end let this one start, -1: its own launch
  uint32_t call = 0;      // in Rank::calls
  int32_t region = -1;    // in Machine::regions()
  uint32_t sequence = 0;  // of an NCCL collective
  int64_t bytes = 0;
  Kernel kernel = Kernel::kGemm;
  Stream stream = Stream::kCompute;
  bool missing = false;  // not in the file
  int8_t damage = -1;    // a FaultKind, -1: none
};

struct RankState {
  explicit RankState(Rng seeded) : rng(seeded) {}
  struct Queue {
    int64_t end_ns = 0;       // of the last item
    int32_t last = -1;        // the last item of this step
    int64_t released_ns = 0;  // by events
    int32_t released_by = -1;
  };
  Rng rng;
  int64_t host_ns = 0;
  std::array<Queue, kNumStreams> queues;
  std::vector<Op> ops;
  std::vector<Call> calls;
  std::vector<WorkItem> work;
  std::vector<uint32_t> region_ids;  // external ids of the annotations in Machine::regions()
  Anchor anchor;
  std::vector<uint32_t> open;  // operators and annotations that have begun
  std::vector<Anchor> starts;  // of the last kQueueDepth items of this step, a ring
  uint64_t num_starts = 0;
  uint32_t correlation = 44'465, external_id = 5'632;
  uint64_t num_ops = 0, num_work = 0, num_kernels = 0;  // over all steps
  int64_t negative_delays = 0, noisy = 0;               // in this step; over all steps
};

struct RegionInfo {
  std::string_view name;
  int index = 0;  // among those of this name, over all steps
};

class Machine {
 public:
  explicit Machine(const Scenario& scenario);

  // The vocabulary of schedules.
  void begin_step(int number);
  void end_step();
  /// An annotation; a leaf one owns what is launched before its end.
  void begin(std::string_view annotation, bool leaf = true);
  void end();
  /// From here on the host's calls come from the autograd thread (or the main one again).
  void autograd(bool on) { autograd_ = on; }
  void host_work(std::string_view op, int64_t duration_ns);
  void kernel(Kernel wanted, Stream stream = Stream::kCompute, double scale = 1);
  void kernels(std::span<const Kernel> list, Stream stream = Stream::kCompute, double scale = 1);
  /// Ends for all ranks at once. `layer` is for barriers that grow.
  void collective(Kernel kernel, Stream stream, int layer = 0, double scale = 1);
  /// What comes next on `stream` starts after all that is on `other` now.
  void wait(Stream stream, Stream other) { wait(stream, record(other)); }
  int record(Stream stream);
  void wait(Stream stream, int mark);
  /// The host goes on when the stream is empty.
  void host_wait(Stream stream);
  void synchronize(Api api);
  /// Work between these comes from one cudaGraphLaunch.
  void begin_graph(std::string_view op);
  void end_graph() { graph_ = false; }
  /// The host looks at an event `count` times.
  void poll(int64_t count);
  /// After every layer: faults that strike there.
  void end_layer(int layers_in_step);

  // What the step left behind.
  std::vector<RankState>& ranks() { return ranks_; }
  const std::vector<RankState>& ranks() const { return ranks_; }
  const std::vector<RegionInfo>& regions() const { return regions_; }             // of this step
  std::span<const CollectiveAnswer> collectives() const { return collectives_; }  // likewise
  const std::vector<Injected>& injected() const { return injected_; }
  void count_fault(FaultKind kind, int rank, int64_t count, int64_t extra_ns);
  /// The amount of a fault on a rank; 0: it does not have it.
  int64_t amount(FaultKind kind, int rank) const;
  int64_t resolution_ns() const { return resolution_ns_; }
  /// Forgets the records of the step.
  void clear();

 private:
  struct Mark {
    int64_t time_ns = 0;
    int32_t item = -1;
  };

  int rank_of(const RankState& rank) const { return static_cast<int>(&rank - ranks_.data()); }
  int64_t rounded(int64_t ns) const;                    // up to the resolution, at least one unit
  int64_t jittered(RankState& rank, int64_t ns) const;  // +-2 %, rounded
  int64_t spent(RankState& rank, int64_t least, int64_t spread) const;
  Op& begin_op(RankState& rank, std::string_view name, OpKind kind);
  void end_op(RankState& rank);
  void small_op(RankState& rank, std::string_view name);
  Call& call(RankState& rank, Api api, int64_t duration_ns);
  void wait_for(RankState& rank, int64_t time_ns, int32_t item);
  void launch_call(RankState& rank, const KernelSpec& what);
  WorkItem& place(RankState& rank, Kernel kernel, Stream stream);
  void finish(RankState& rank, WorkItem& item, int64_t end_ns);
  void next_sequence();
  void collective_answer(Kernel kernel, int64_t end_ns);
  int64_t duration(RankState& rank, Kernel kernel, double scale);
  void synchronize(RankState& rank, Api api);
  Kernel replaced(Kernel kernel);
  void damage(RankState& rank, Op& op);
  void damage(RankState& rank, WorkItem& item);
  void lengthen(RankState& rank);
  void pageable_copy(RankState& rank);
  void malloc_storm(RankState& rank, int64_t count);

  const Scenario& scenario_;
  int64_t resolution_ns_;
  Rng rng_;  // of decisions that all ranks share
  std::vector<RankState> ranks_;
  std::vector<RegionInfo> regions_;
  std::vector<RegionInfo> next_index_;  // by name
  std::vector<CollectiveAnswer> collectives_;
  std::vector<Mark> marks_;  // by mark and rank
  std::vector<Injected> injected_;
  std::vector<int64_t> amounts_;         // by fault and rank
  std::vector<int32_t> injected_index_;  // likewise, into injected_; -1: none
  std::vector<bool> leaves_;             // of the open annotations
  std::vector<uint32_t> forward_;        // sequence numbers that the backward pass will take
  int region_ = -1;
  int layer_in_step_ = 0;
  int64_t nccl_sequence_ = 0, num_collectives_ = 0;
  uint32_t next_sequence_ = 20'000, sequence_ = 0;
  bool autograd_ = false, graph_ = false;
};

}  // namespace hadal::trace::gen
