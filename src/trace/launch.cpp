#include "trace/launch.h"

#include <algorithm>
#include <tuple>

#include <nlohmann/json.hpp>

namespace hadal::trace {
namespace {

constexpr int64_t kSlowCallNs = 50'000;
constexpr int64_t kLongDelayNs = 100'000;
constexpr int64_t kLaunchBoundDelayNs = 10'000;
constexpr double kLaunchBoundShare = 0.1;

/// Launches and starts of one stream as steps of its queue.
std::vector<QueueStep> queue_steps(const GpuView& view, const StreamUse& stream) {
  std::vector<std::pair<int64_t, int>> changes;
  for (const uint32_t i : stream.activities) {
    const Activity& a = view.activities[i];
    if (a.launch_row == kNone) continue;
    const int64_t launched = view.trace->events.start_ns[a.launch_row];
    changes.emplace_back(std::min(launched, a.start_ns), 1);
    changes.emplace_back(a.start_ns, -1);
  }
  // At one moment launches come first, so that the queue never seems negative.
  std::ranges::sort(changes, {}, [](const auto& c) { return std::tuple(c.first, -c.second); });
  std::vector<QueueStep> steps;
  int length = 0;
  for (const auto& [time, change] : changes) {
    length += change;
    steps.push_back({time, length});
  }
  return steps;
}

void measure_queue(StreamLaunches& stream) {
  double area = 0;
  for (size_t i = 0; i < stream.queue.size(); ++i) {
    const QueueStep& step = stream.queue[i];
    stream.queue_max = std::max(stream.queue_max, step.length);
    if (i + 1 == stream.queue.size()) break;
    const int64_t time = stream.queue[i + 1].time_ns - step.time_ns;
    area += static_cast<double>(time) * step.length;
    if (step.length >= kQueueFull) stream.queue_full_ns += time;
  }
  if (stream.queue.size() < 2) return;
  const int64_t total = stream.queue.back().time_ns - stream.queue.front().time_ns;
  if (total > 0) stream.queue_mean = area / static_cast<double>(total);
}

StreamLaunches stream_launches(const GpuView& view, const StreamUse& stream, LaunchUse& use,
                               std::vector<int64_t>& all_delays) {
  const Events& e = view.trace->events;
  StreamLaunches launches{.track = stream.track, .delay = {}, .queue = queue_steps(view, stream)};
  std::vector<int64_t> delays, ahead;
  for (const uint32_t i : stream.activities) {
    const Activity& a = view.activities[i];
    if (a.launch_row == kNone) continue;
    const int64_t delay = a.start_ns - e.end_ns(a.launch_row);
    use.negative_delays += delay < 0;
    use.short_activities += a.duration_ns() < e.duration_ns[a.launch_row];
    use.slow_calls += e.duration_ns[a.launch_row] > kSlowCallNs;
    use.long_delays += delay > kLongDelayNs;
    delays.push_back(std::max<int64_t>(0, delay));
    ahead.push_back(a.start_ns - e.start_ns[a.launch_row]);
  }
  all_delays.insert(all_delays.end(), delays.begin(), delays.end());
  launches.delay = duration_stats(std::move(delays));
  launches.run_ahead_median_ns = duration_stats(std::move(ahead)).median_ns;
  measure_queue(launches);
  return launches;
}

std::vector<ApiRow> api_rows(const GpuView& view) {
  const Trace& trace = *view.trace;
  const Events& e = trace.events;
  std::vector<uint32_t> launches_of(e.size());
  for (const Activity& a : view.activities) {
    if (a.launch_row != kNone) launches_of[a.launch_row] = 1;
  }
  std::vector<std::vector<int64_t>> times(trace.names.size());
  std::vector<uint64_t> launches(trace.names.size());
  for (uint32_t row = 0; row < e.size(); ++row) {
    if (!is_runtime_call(e.category[row])) continue;
    times[e.name[row]].push_back(e.duration_ns[row]);
    launches[e.name[row]] += launches_of[row];
  }
  std::vector<ApiRow> rows;
  for (size_t i = 0; i < times.size(); ++i) {
    if (times[i].empty()) continue;
    ApiRow row{.name = trace.names[i], .time = {}, .launches = launches[i]};
    row.time = duration_stats(std::move(times[i]));
    rows.push_back(std::move(row));
  }
  std::ranges::sort(rows, {}, [](const ApiRow& row) {
    return std::tuple(-row.time.sum_ns, std::string_view(row.name));
  });
  return rows;
}

std::vector<BlockingCall> blocking_calls(const GpuView& view) {
  const Events& e = view.trace->events;
  std::vector<BlockingCall> calls;
  if (view.activities.empty()) return calls;
  const IntervalSet busy = view.busy();
  const Interval span{busy.empty() ? 0 : busy.front().start, busy.empty() ? 0 : busy.back().end};
  const IntervalSet idle = subtract(std::span(&span, 1), busy);
  for (uint32_t row = 0; row < e.size(); ++row) {
    if (!is_runtime_call(e.category[row]) || e.duration_ns[row] < kBlockingCallNs) continue;
    const Interval call{e.start_ns[row], e.end_ns(row)};
    // The sets are sorted: only the idle times from this call on matter.
    const auto first = std::ranges::lower_bound(idle, call.start, {}, &Interval::end);
    calls.push_back({row, common_length(std::span(&call, 1), std::span(first, idle.end()))});
  }
  std::ranges::sort(calls, {},
                    [&](const BlockingCall& c) { return std::tuple(e.start_ns[c.row], c.row); });
  return calls;
}

}  // namespace

LaunchUse launch_use(const GpuView& view, const std::vector<StreamUse>& streams) {
  LaunchUse use;
  std::vector<int64_t> delays;
  int64_t start = INT64_MAX, end = INT64_MIN;
  for (const StreamUse& stream : streams) {
    use.streams.push_back(stream_launches(view, stream, use, delays));
    start = std::min(start, stream.start_ns);
    end = std::max(end, stream.end_ns);
  }
  use.delay = duration_stats(std::move(delays));
  use.api = api_rows(view);
  use.blocking = blocking_calls(view);
  const auto busiest = std::ranges::max_element(streams, {}, &StreamUse::busy_ns);
  if (busiest == streams.end() || end <= start) return use;
  const StreamLaunches& launches = use.streams[busiest - streams.begin()];
  use.host_wait_share =
      static_cast<double>(busiest->host_wait_ns) / static_cast<double>(end - start);
  use.launch_bound = launches.delay.count > 0 && (launches.delay.median_ns < kLaunchBoundDelayNs ||
                                                  use.host_wait_share > kLaunchBoundShare);
  return use;
}

Json to_json(const GpuView& view, const LaunchUse& use) {
  const auto stats = [](const DurationStats& s) -> Json {
    return {{"count", s.count},       {"median_us", us(s.median_ns)}, {"mean_us", s.mean_ns / 1e3},
            {"p95_us", us(s.p95_ns)}, {"min_us", us(s.min_ns)},       {"max_us", us(s.max_ns)}};
  };
  Json streams = Json::array(), api = Json::array(), blocking = Json::array();
  for (const StreamLaunches& s : use.streams) {
    const Track& track = view.trace->tracks[s.track];
    streams.push_back({{"device", track.device},
                       {"stream", track.stream},
                       {"delay", stats(s.delay)},
                       {"run_ahead_median_us", us(s.run_ahead_median_ns)},
                       {"queue_max", s.queue_max},
                       {"queue_mean", s.queue_mean},
                       {"queue_full_us", us(s.queue_full_ns)}});
  }
  for (const ApiRow& row : use.api) {
    api.push_back({{"name", row.name},
                   {"count", row.time.count},
                   {"launches", row.launches},
                   {"sum_us", us(row.time.sum_ns)},
                   {"mean_us", row.time.mean_ns / 1e3},
                   {"max_us", us(row.time.max_ns)}});
  }
  for (const BlockingCall& call : use.blocking) {
    blocking.push_back({{"name", view.trace->name_of(call.row)},
                        {"start_us", us(view.trace->events.start_ns[call.row])},
                        {"duration_us", us(view.trace->events.duration_ns[call.row])},
                        {"gpu_idle_us", us(call.gpu_idle_ns)}});
  }
  return {{"delay", stats(use.delay)},
          {"launch_bound", use.launch_bound},
          {"host_wait_share", use.host_wait_share},
          {"negative_delays", use.negative_delays},
          {"shorter_than_their_launch", use.short_activities},
          {"launch_calls_over_50us", use.slow_calls},
          {"delays_over_100us", use.long_delays},
          {"unlinked_activities", view.unlinked},
          {"streams", std::move(streams)},
          {"api", std::move(api)},
          {"blocking_calls", std::move(blocking)}};
}

}  // namespace hadal::trace
