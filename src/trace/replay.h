// What the GPU's work waited for, as a graph, and when it would have run if parts of it took a
// different time.
//
// A trace records when things happened, not why. The graph infers the causes from the times. An
// activity started after the latest of
//
//   stream   the end of the activity before it on its stream (with the latest end so far)
//   gate     the latest end on any other stream of the GPU, if it lies between the end of the
//   activity before
//            and the start, and within kReleaseNs (10 us) of the start: an event between streams
//   launch   the return of its launch call on the host
//   begin    the start of the span
//
// and `delay_ns` after it, which is kept as a weight. Where an activity started before the one
// before it had ended (programmatic dependent launch), the stream cause is the part of that one
// that had passed, not its end.
//
// A launch is fixed in host time, but for moments when the host waited for the GPU: what it does
// afterwards moves with the end of the wait. The threads are taken as one host, for they hand over
// to one another (PyTorch's autograd thread works while the main thread waits for it). Waits are
//
//   device  cudaDeviceSynchronize and its kind: for everything launched before
//   stream  cudaStreamSynchronize, cudaEventSynchronize and their kind: for the last work of the
//           stream if the trace names it, else for what ended last during the call
//   poll    no call at all, but the thread that launched a barrier kernel is silent from before its
//           start, for 100 us or more, and goes on within 100 us of its end: so DeepEP waits for
//           the number of tokens it will receive, which notify_dispatch writes to the host's memory
//
// A wait ends after the later of its start and the end of what it waited for (of a poll: the part
// of it that had passed), plus a delay. Only threads that launch are looked at.
//
// replay() computes all times anew from the causes. Without changes it gives every start back, to
// the nanosecond: that is the proof that the graph explains the trace. With changes it gives a
// what-if, and what it gains is a *ceiling*: a wait that was hidden by another one left no mark in
// the trace, so the graph misses constraints, while 10 us of coincidence may look like a cause.
// Kernels that wait for free SMs rather than for an event have a long delay that stays.
//
// No cycles. The items (starts of activities, ends of waits) stand in one total
// order, by (time, kind, index), and every cause of an item is looked up among the items before it:
// the activity before on the stream and the gate have a smaller index in GpuView::activities, which
// is sorted by start; a wait sees only activities that started before its end; a launch sees only
// waits that ended before the start of the activity. So one pass in this order evaluates
// everything.
//
// Times in nanoseconds. Building sorts; a replay costs n log n where calls wait for the device, and
// is linear otherwise. Pure functions; a graph may be replayed from any number of threads.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "trace/activity.h"
#include "trace/json.h"

namespace hadal::trace {

enum class Cause : uint8_t { kStream, kGate, kLaunch, kBegin };
std::string_view name(Cause cause);  // "stream", "gate", "launch", "begin"

/// Why an activity started when it did. Indices are into GpuView::activities.
struct CauseNode {
  uint32_t previous = kNone;  // on its stream; kNone: it is the first
  uint32_t gate = kNone;      // kNone: nothing ended on another stream as the definition says
  uint32_t sync = kNone;      // in ReplayGraph::syncs: the last one before the launch
  Cause cause = Cause::kBegin;
  int64_t previous_part_ns = 0;  // of `previous` that had passed: its duration, unless they overlap
  int64_t launch_ns = INT64_MIN;  // return of the launch call, not after the start; none: INT64_MIN
  int64_t delay_ns = 0;           // from the latest cause to the start; never negative
};

/// The host waited for the GPU.
struct HostSync {
  enum class Kind : uint8_t { kDevice, kStream, kPoll };
  uint32_t row = 0;  // of the call; of a poll, what the thread did next
  int64_t start_ns = 0, end_ns = 0;
  uint32_t previous = kNone;  // the wait before it
  uint32_t waited = kNone;    // the activity it waited for; kNone: none is known. If it had ended
                              // before the start, it did not hold the host up.
  Kind kind = Kind::kStream;
  int64_t waited_part_ns = 0;  // of `waited` that had passed: its duration, but for polls
  int64_t delay_ns = 0;        // from what it waited for to its end; never negative
};

struct ReplayGraph {
  const GpuView* view = nullptr;  // must outlive the graph
  std::vector<CauseNode> nodes;   // as GpuView::activities
  std::vector<HostSync> syncs;    // by (end, row)
  int64_t start_ns = 0, end_ns = 0;
  int64_t span_ns() const { return end_ns - start_ns; }

  /// The total order of the comment above. An activity's end is an item of its own.
  enum class Step : uint8_t { kEnd, kSync, kStart, kEndOfEmpty };
  struct Item {
    int64_t time_ns = 0;
    Step step = Step::kStart;
    uint32_t index = 0;
  };
  std::vector<Item> order;
  std::vector<uint32_t> launch_order;  // of each activity, by launch time; kNone: unlinked
  std::vector<uint32_t> sync_prefix;   // of each sync: how many launches came before it
};

ReplayGraph replay_graph(const GpuView& view);

/// One change of a what-if.
struct Change {
  enum class What : uint8_t {
    kAll,            // "all": every activity
    kCompute,        // "compute", "communication", "memory": by class
    kCommunication,  //
    kMemory,         //
    kTransfer,       // "transfer", "barrier", "layout": by role
    kBarrier,        //
    kLayout,         //
    kName,           // "name~GLOB": the kernel's name (globs of rules.h)
    kRegion,         // "region~GLOB": "attn(B)#3", name and index of the region
    kGaps,           // "gaps": delays that a launch did not cause, or longer than 30 us
    kHost,           // "host": the host's time between its waits, and launch latencies up to 30 us
  };
  What what = What::kAll;
  std::string pattern;
  double factor = 1;    // of the time; 0 to 1000
  int64_t set_ns = -1;  // the new time of each, instead of a factor; -1: the factor counts
};

/// What to change. Of several changes that speak of one activity the first counts.
struct Scenario {
  std::string text;  // as the user wrote it
  std::vector<Change> changes;
  bool host_follows = true;  // launches after a wait move with it; false: the host is fixed
};

/// "barrier=0", "transfer*0.8", "name~gemm*0.5", "gaps=0", "name~ln_fwd=70us, barrier=0": changes
/// separated by commas (write ? for a comma in a pattern), each WHAT*FACTOR or WHAT=TIME with ns,
/// us, ms or s (us where there is none). kInvalidArgument says which part is wrong and why.
Result<Scenario> parse_scenario(std::string_view text);

/// New times, as GpuView::activities.
struct Replay {
  std::vector<int64_t> start_ns, end_ns;
  std::vector<int64_t> sync_end_ns;  // as ReplayGraph::syncs
  int64_t span_ns = 0;               // from the start of the original span to the last end
};
Replay replay(const ReplayGraph& graph, const Scenario& scenario = {});

/// A scenario and what it gains at most.
struct WhatIf {
  std::string scenario;
  int64_t span_ns = 0, new_span_ns = 0;
  uint64_t affected = 0;    // activities (or delays) that a change speaks of
  int64_t affected_ns = 0;  // the sum of their durations
  int64_t gain_ns() const { return span_ns - new_span_ns; }  // negative: it gets slower
};
WhatIf what_if(const ReplayGraph& graph, const Scenario& scenario);

/// {scenario, span_us, new_span_us, gain_us, gain_percent, affected, affected_us}
Json to_json(const WhatIf& result);

}  // namespace hadal::trace
