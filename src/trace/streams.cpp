#include "trace/streams.h"

#include <algorithm>
#include <tuple>

#include <nlohmann/json.hpp>

namespace hadal::trace {
namespace {

GapCause cause_of(const GpuView& view, const Gap& gap) {
  const uint32_t launch = view.activities[gap.before].launch_row;
  if (launch != kNone && view.trace->events.start_ns[launch] > gap.start_ns) {
    return GapCause::kHostWait;
  }
  return gap.length() < kKernelWaitNs ? GapCause::kKernelWait : GapCause::kOther;
}

void add(const GpuView& view, uint32_t index, uint32_t& last, StreamUse& use) {
  const Activity& a = view.activities[index];
  if (use.activities.empty()) {
    use.start_ns = a.start_ns;
  } else if (a.start_ns > use.end_ns) {
    Gap gap{.start_ns = use.end_ns, .end_ns = a.start_ns, .after = last, .before = index};
    gap.cause = cause_of(view, gap);
    int64_t& sum = gap.cause == GapCause::kHostWait     ? use.host_wait_ns
                   : gap.cause == GapCause::kKernelWait ? use.kernel_wait_ns
                                                        : use.other_wait_ns;
    sum += gap.length();
    use.gaps.push_back(gap);
  }
  const int64_t from = use.activities.empty() ? a.start_ns : std::max(a.start_ns, use.end_ns);
  use.busy_ns += std::max<int64_t>(0, a.end_ns - from);
  use.sum_ns += a.duration_ns();
  if (use.activities.empty() || a.end_ns >= use.end_ns) {
    use.end_ns = a.end_ns;
    last = index;
  }
  ++use.events;
  use.compute_events += a.kind == Class::kCompute;
  use.communication_events += a.kind == Class::kCommunication;
  use.memory_events += a.kind == Class::kMemory;
  use.activities.push_back(index);
}

}  // namespace

std::string_view name(GapCause cause) {
  constexpr std::string_view kNames[] = {"host_wait", "kernel_wait", "other"};
  return kNames[static_cast<size_t>(cause)];
}

std::vector<StreamUse> stream_use(const GpuView& view) {
  std::vector<StreamUse> uses(view.streams.size());
  std::vector<uint32_t> last(view.streams.size());
  for (size_t i = 0; i < uses.size(); ++i) {
    const Track& track = view.trace->tracks[view.streams[i]];
    uses[i].track = view.streams[i];
    uses[i].device = track.device;
    uses[i].stream = track.stream;
  }
  for (uint32_t i = 0; i < view.activities.size(); ++i) {
    const auto at = std::ranges::lower_bound(view.streams, view.activities[i].track);
    const auto stream = static_cast<size_t>(at - view.streams.begin());
    add(view, i, last[stream], uses[stream]);
  }
  return uses;
}

Json to_json(const GpuView& view, const std::vector<StreamUse>& streams, size_t gaps_max) {
  Json out = Json::array();
  for (const StreamUse& use : streams) {
    std::vector<Gap> longest = use.gaps;
    std::ranges::sort(longest, {},
                      [](const Gap& g) { return std::tuple(-g.length(), g.start_ns); });
    longest.resize(std::min(longest.size(), gaps_max));
    Json gaps = Json::array();
    for (const Gap& gap : longest) {
      gaps.push_back({{"start_us", us(gap.start_ns)},
                      {"end_us", us(gap.end_ns)},
                      {"length_us", us(gap.length())},
                      {"cause", name(gap.cause)},
                      {"after", view.name_of(view.activities[gap.after])},
                      {"before", view.name_of(view.activities[gap.before])}});
    }
    out.push_back({{"device", use.device},
                   {"stream", use.stream},
                   {"events", use.events},
                   {"busy_us", us(use.busy_ns)},
                   {"sum_us", us(use.sum_ns)},
                   {"start_us", us(use.start_ns)},
                   {"end_us", us(use.end_ns)},
                   {"compute_events", use.compute_events},
                   {"communication_events", use.communication_events},
                   {"memory_events", use.memory_events},
                   {"host_wait_us", us(use.host_wait_ns)},
                   {"kernel_wait_us", us(use.kernel_wait_ns)},
                   {"other_wait_us", us(use.other_wait_ns)},
                   {"gaps", std::move(gaps)}});
  }
  return out;
}

}  // namespace hadal::trace
