// What the host costs: launch gaps, lateness, blocking calls, allocation.
#include <algorithm>
#include <map>

#include <fmt/core.h>

#include "trace/finding_rules.h"

namespace hadal::trace {
namespace {

constexpr double kWorthSaying = 0.001;  // of the span
constexpr uint64_t kQueryStorm = 1000;  // cudaEventQuery calls

std::string text_us(int64_t ns) {
  return shown(cell(ns), Unit::kTime);
}

/// Gaps of one cause on one stream, less the time in which the GPU computed elsewhere.
Finding gap_finding(const Analyses& a, const StreamUse& stream, GapCause cause) {
  Finding f;
  std::vector<Interval> gaps;
  for (const Gap& gap : stream.gaps) {
    if (gap.cause != cause) continue;
    gaps.push_back({gap.start_ns, gap.end_ns});
    f.evidence.push_back(
        {gaps.back(),
         fmt::format("before {}", short_name(a.view.name_of(a.view.activities[gap.before])))});
  }
  f.recoverable = unite(std::move(gaps));
  return f;
}

void find_gaps(const Analyses& a, FindingList& out) {
  const auto busiest = std::ranges::max_element(
      a.streams, {}, [](const StreamUse& s) { return std::pair(s.compute_events > 0, s.busy_ns); });
  if (busiest == a.streams.end()) return;
  const auto worth = static_cast<int64_t>(kWorthSaying * static_cast<double>(a.summary.span_ns));
  if (busiest->kernel_wait_ns > worth) {
    Finding f = gap_finding(a, *busiest, GapCause::kKernelWait);
    f.id = "launch:kernel-wait";
    f.claim = fmt::format(
        "{} us pass between one kernel and the next on stream {}, in {} gaps under {} us",
        text_us(busiest->kernel_wait_ns), busiest->stream, f.recoverable.size(),
        kKernelWaitNs / 1000);
    f.action =
        "CUDA graphs or programmatic dependent launch shrink these gaps; fewer kernels "
        "remove them.";
    out.push_back(std::move(f));
  }
  if (busiest->host_wait_ns > worth) {
    Finding f = gap_finding(a, *busiest, GapCause::kHostWait);
    f.id = "launch:host-wait";
    f.claim =
        fmt::format("stream {} waited {} us for launches: the host was late ({})", busiest->stream,
                    text_us(busiest->host_wait_ns),
                    a.launch.launch_bound ? "the step is launch bound" : "elsewhere it runs ahead");
    f.action =
        "Look at what the host did in these gaps: synchronising calls, data loading, Python. "
        "CUDA graphs or torch.compile cut the cost of launching.";
    out.push_back(std::move(f));
  }
}

void find_blocking(const Analyses& a, FindingList& out) {
  const Events& e = a.view.trace->events;
  std::map<std::string_view, Finding> by_name;
  std::map<std::string_view, std::vector<Interval>> calls;
  for (const BlockingCall& call : a.launch.blocking) {
    if (call.gpu_idle_ns < kLaunchGapNs) continue;
    const std::string_view name = a.view.trace->name_of(call.row);
    const Interval time{e.start_ns[call.row], e.end_ns(call.row)};
    calls[name].push_back(time);
    by_name[name].evidence.push_back({time, std::string(name)});
  }
  for (auto& [name, f] : by_name) {
    f.id = fmt::format("host:blocks:{}", name);
    f.recoverable = intersect(unite(calls[name]), a.summary.idle);
    f.claim = fmt::format(
        "{} held the host {} with the GPU idle for {} us of it", name,
        calls[name].size() == 1 ? std::string("once") : fmt::format("{} times", calls[name].size()),
        text_us(length(f.recoverable)));
    f.action = "Remove the synchronisation, or launch the next work before it.";
    out.push_back(std::move(f));
  }
}

/// Calls that should not be in a step at all; what they cost is idle GPU time under them.
void find_calls(const Analyses& a, FindingList& out) {
  struct Kind {
    std::string_view pattern, id, what, action;
    uint64_t count_min;
  };
  constexpr Kind kKinds[] = {
      {"^cudaMalloc$", "host:malloc", "allocate device memory",
       "Let the caching allocator keep its memory: warm up first, avoid changing shapes, try "
       "expandable segments.",
       1},
      {"^cudaFree$", "host:free", "free device memory, which synchronises the device",
       "The allocator is returning memory because it is nearly full: lower the peak.", 1},
      {"^cudaEventQuery", "host:event-query", "poll events",
       "A thread polls in a loop and takes time from the launching thread: wait on the event, or "
       "poll less often.",
       kQueryStorm},
  };
  const Events& e = a.view.trace->events;
  for (const Kind& kind : kKinds) {
    std::vector<bool> match(a.view.trace->names.size());
    for (size_t i = 0; i < match.size(); ++i)
      match[i] = matches(kind.pattern, a.view.trace->names[i]);
    std::vector<Interval> calls;
    for (uint32_t row = 0; row < e.size(); ++row) {
      if (is_runtime_call(e.category[row]) && match[e.name[row]]) {
        calls.push_back({e.start_ns[row], e.end_ns(row)});
      }
    }
    if (calls.size() < kind.count_min) continue;
    Finding f{.id = std::string(kind.id)};
    f.recoverable = intersect(unite(calls), a.summary.idle);
    f.claim = fmt::format("{} calls {} in the traced time; the GPU is idle under {} us of them",
                          calls.size(), kind.what, text_us(length(f.recoverable)));
    f.action = kind.action;
    for (const Interval& call : calls) f.evidence.push_back({call, std::string(kind.what)});
    out.push_back(std::move(f));
  }
}

void find_pageable_copies(const Analyses& a, FindingList& out) {
  Finding f{.id = "copy:pageable"};
  std::vector<Interval> copies;
  for (const Activity& activity : a.view.activities) {
    if (activity.kind != Class::kMemory || !matches("pageable", a.view.name_of(activity))) continue;
    copies.push_back({activity.start_ns, activity.end_ns});
    f.evidence.push_back({copies.back(), std::string(a.view.name_of(activity))});
  }
  if (copies.empty()) return;
  f.claim = fmt::format("{} copies use pageable host memory, which makes them synchronous and slow",
                        copies.size());
  f.action = "Pin the host memory (pin_memory=True) and copy with non_blocking=True.";
  f.recoverable = subtract(unite(std::move(copies)), a.view.busy(Class::kCompute));
  out.push_back(std::move(f));
}

}  // namespace

void find_host(const Analyses& a, FindingList& out) {
  find_gaps(a, out);
  find_blocking(a, out);
  find_calls(a, out);
  find_pageable_copies(a, out);
}

}  // namespace hadal::trace
