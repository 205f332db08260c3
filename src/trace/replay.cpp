#include "trace/replay.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <ranges>
#include <tuple>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "trace/gates.h"
#include "trace/saturate.h"
#include "trace/streams.h"
#include "trace/units.h"

namespace hadal::trace {
namespace {

constexpr uint16_t kNoTrack = UINT16_MAX;
// How long a host must be silent to count as polling, and how near the end of what it polled for it
// wakes up. DeepEP's hosts wake 20 to 65 us before the end of notify_dispatch.
constexpr int64_t kPollNs = 100'000;

/// The largest of the values added so far at positions below `count`, in log n (a Fenwick tree).
class PrefixMax {
 public:
  struct Entry {
    int64_t value = INT64_MIN;
    uint32_t index = kNone;
  };
  explicit PrefixMax(size_t size) : tree_(size + 1) {}

  void add(uint32_t position, Entry entry) {
    for (size_t i = position + size_t{1}; i < tree_.size(); i += i & (~i + 1)) {
      if (entry.value > tree_[i].value) tree_[i] = entry;
    }
  }
  Entry below(uint32_t count) const {
    Entry best;
    for (size_t i = count; i > 0; i -= i & (~i + 1)) {
      if (tree_[i].value > best.value) best = tree_[i];
    }
    return best;
  }

 private:
  std::vector<Entry> tree_;
};

/// The last wait that ended at `time` or before, and stands before `limit` in the order.
uint32_t last_sync(std::span<const HostSync> syncs, int64_t time, size_t limit) {
  const auto after = std::ranges::partition_point(
      syncs.first(limit), [&](const HostSync& sync) { return sync.end_ns <= time; });
  return after == syncs.begin() ? kNone : static_cast<uint32_t>(after - syncs.begin()) - 1;
}

/// The latest ends, added in ascending order, of two different streams: enough to know the latest
/// one on any stream but one.
class LatestEnds {
 public:
  struct Entry {
    int64_t end_ns = INT64_MIN;
    uint32_t activity = kNone;
    uint16_t track = 0;
  };
  void add(const Entry& entry) {
    if (first_.activity != kNone && entry.track != first_.track) second_ = first_;
    first_ = entry;
  }
  const Entry& except(uint16_t track) const { return first_.track == track ? second_ : first_; }

 private:
  Entry first_, second_;
};

void find_previous(const GpuView& view, std::vector<CauseNode>& nodes) {
  std::vector<uint32_t> latest(view.trace->tracks.size(), kNone);
  for (uint32_t i = 0; i < nodes.size(); ++i) {
    const Activity& a = view.activities[i];
    uint32_t& before = latest[a.track];
    if (before != kNone) {
      const Activity& p = view.activities[before];
      nodes[i].previous = before;
      nodes[i].previous_part_ns = std::min(p.duration_ns(), a.start_ns - p.start_ns);
    }
    if (before == kNone || a.end_ns >= view.activities[before].end_ns) before = i;
  }
}

/// For each activity the latest end on another stream at or before its start. One sweep over starts
/// and ends.
void find_gates(const GpuView& view, std::vector<CauseNode>& nodes) {
  const std::vector<Activity>& all = view.activities;
  std::vector<uint32_t> by_end(all.size());
  std::iota(by_end.begin(), by_end.end(), 0U);
  std::ranges::sort(by_end, {}, [&](uint32_t i) { return std::pair(all[i].end_ns, i); });
  std::map<int, LatestEnds> by_device;
  std::vector<LatestEnds*> ends(view.trace->tracks.size());
  for (const uint16_t t : view.streams) ends[t] = &by_device[view.trace->tracks[t].device];
  size_t ended = 0;
  for (uint32_t i = 0; i < nodes.size(); ++i) {
    // An activity without duration may end here and yet come later in the order: not a cause.
    for (; ended < by_end.size(); ++ended) {
      const uint32_t k = by_end[ended];
      if (all[k].end_ns > all[i].start_ns || k >= i) break;
      ends[all[k].track]->add({.end_ns = all[k].end_ns, .activity = k, .track = all[k].track});
    }
    const auto& other = ends[all[i].track]->except(all[i].track);
    if (other.activity == kNone || all[i].start_ns - other.end_ns > kReleaseNs) continue;
    const uint32_t previous = nodes[i].previous;
    if (previous == kNone || all[previous].end_ns < other.end_ns) nodes[i].gate = other.activity;
  }
}

/// The calls that wait, on threads that launch.
void find_calls(const GpuView& view, std::vector<HostSync>& syncs) {
  const Trace& trace = *view.trace;
  const Events& e = trace.events;
  std::vector<bool> launches(trace.tracks.size());
  for (const Activity& a : view.activities) {
    if (a.launch_row != kNone) launches[e.track[a.launch_row]] = true;
  }
  std::vector<int8_t> known(trace.names.size(), -1);
  for (uint32_t row = 0; row < e.size(); ++row) {
    if (!is_runtime_call(e.category[row]) || !launches[e.track[row]]) continue;
    const std::string_view call = trace.name_of(row);
    int8_t& is_sync = known[e.name[row]];
    if (is_sync < 0) is_sync = call.find("Synchronize") != call.npos ? 1 : 0;
    if (is_sync == 0 || e.phase[row] != Phase::kComplete || e.start_ns[row] < 0) continue;
    const bool device = call.find("Device") != call.npos || call.find("Ctx") != call.npos;
    syncs.push_back({.row = row,
                     .start_ns = e.start_ns[row],
                     .end_ns = e.end_ns(row),
                     .kind = device ? HostSync::Kind::kDevice : HostSync::Kind::kStream});
  }
}

/// The wait of the host for the activity `i` without any call, if it looks like one.
std::optional<HostSync> poll_for(const GpuView& view, uint32_t i) {
  const Activity& a = view.activities[i];
  const Events& e = view.trace->events;
  const Track& thread = view.trace->tracks[e.track[a.launch_row]];
  const auto rows = std::ranges::iota_view(a.launch_row + 1, thread.end);
  const auto next = std::ranges::lower_bound(rows, a.end_ns - kPollNs, {},
                                             [&](uint32_t row) { return e.start_ns[row]; });
  if (next == rows.end()) return std::nullopt;
  const uint32_t before = *next - 1;  // the launch itself at the earliest
  const int64_t end = e.start_ns[*next];
  const int64_t start = e.end_ns(before) <= end ? e.end_ns(before) : e.start_ns[before];
  const bool silent_all_along = start <= a.start_ns && end > a.start_ns && end - start >= kPollNs;
  if (!silent_all_along || end > a.end_ns + kPollNs) return std::nullopt;
  return HostSync{
      .row = *next, .start_ns = start, .end_ns = end, .waited = i, .kind = HostSync::Kind::kPoll};
}

std::vector<HostSync> find_syncs(const GpuView& view) {
  std::vector<HostSync> syncs;
  find_calls(view, syncs);
  for (uint32_t i = 0; i < view.activities.size(); ++i) {
    const Activity& a = view.activities[i];
    if (a.role != Role::kBarrier || a.launch_row == kNone) continue;
    if (const auto poll = poll_for(view, i)) syncs.push_back(*poll);
  }
  std::ranges::sort(syncs, {}, [](const HostSync& s) { return std::tuple(s.end_ns, s.row); });
  return syncs;
}

/// The stream that each call waits for, where a row of synchronisation says it, by correlation.
std::vector<uint16_t> sync_tracks(const Trace& trace, std::span<const HostSync> syncs) {
  const Events& e = trace.events;
  std::map<std::pair<int, int64_t>, uint16_t> streams;
  for (size_t t = 0; t < trace.tracks.size(); ++t) {
    const Track& track = trace.tracks[t];
    if (track.kind == TrackKind::kGpu) {
      streams.try_emplace({track.device, track.stream}, static_cast<uint16_t>(t));
    }
  }
  std::vector<std::pair<uint32_t, uint16_t>> by_correlation;
  for (const Track& track : trace.tracks) {
    const auto stream = streams.find({track.device, track.stream});
    if (stream == streams.end()) continue;
    for (uint32_t row = track.begin; row < track.end; ++row) {
      if (e.category[row] == Category::kSync && e.correlation[row] != 0) {
        by_correlation.emplace_back(e.correlation[row], stream->second);
      }
    }
  }
  std::ranges::sort(by_correlation);
  std::vector<uint16_t> tracks(syncs.size(), kNoTrack);
  for (size_t i = 0; i < syncs.size(); ++i) {
    const uint32_t correlation = e.correlation[syncs[i].row];
    const auto at = std::ranges::lower_bound(by_correlation, correlation, {},
                                             &std::pair<uint32_t, uint16_t>::first);
    if (at != by_correlation.end() && at->first == correlation) tracks[i] = at->second;
  }
  return tracks;
}

/// Launch times on the host, and the order of the launches.
void find_launches(const GpuView& view, ReplayGraph& graph) {
  const Events& e = view.trace->events;
  std::vector<std::pair<int64_t, uint32_t>> launches;
  for (uint32_t i = 0; i < graph.nodes.size(); ++i) {
    const Activity& a = view.activities[i];
    if (a.launch_row == kNone) continue;
    const int64_t called = std::min(e.start_ns[a.launch_row], a.start_ns);
    launches.emplace_back(called, i);
    graph.nodes[i].launch_ns = std::min(e.end_ns(a.launch_row), a.start_ns);
    graph.nodes[i].sync = last_sync(graph.syncs, called, graph.syncs.size());
  }
  std::ranges::sort(launches);
  graph.launch_order.assign(graph.nodes.size(), kNone);
  for (uint32_t k = 0; k < launches.size(); ++k) graph.launch_order[launches[k].second] = k;
  for (uint32_t i = 0; i < graph.syncs.size(); ++i) {
    HostSync& sync = graph.syncs[i];
    sync.previous = last_sync(graph.syncs, sync.start_ns, i);
    const auto after = std::ranges::upper_bound(launches, std::pair(sync.start_ns, kNone));
    graph.sync_prefix.push_back(static_cast<uint32_t>(after - launches.begin()));
  }
}

std::vector<ReplayGraph::Item> total_order(const ReplayGraph& graph) {
  using Step = ReplayGraph::Step;
  const std::vector<Activity>& all = graph.view->activities;
  std::vector<ReplayGraph::Item> order;
  for (uint32_t i = 0; i < all.size(); ++i) {
    const bool empty = all[i].start_ns == all[i].end_ns;
    order.push_back({all[i].start_ns, Step::kStart, i});
    if (graph.syncs.empty()) continue;
    order.push_back({all[i].end_ns, empty ? Step::kEndOfEmpty : Step::kEnd, i});
  }
  for (uint32_t i = 0; i < graph.syncs.size(); ++i) {
    order.push_back({graph.syncs[i].end_ns, Step::kSync, i});
  }
  std::ranges::sort(order, {}, [](const ReplayGraph::Item& item) {
    return std::tuple(item.time_ns, item.step, item.index);
  });
  return order;
}

/// The last activity of a stream launched before the call and ended before its end.
uint32_t last_on_stream(const ReplayGraph& graph, std::span<const uint32_t> stream, uint32_t sync) {
  const auto after = std::ranges::partition_point(
      stream, [&](uint32_t i) { return graph.launch_order[i] < graph.sync_prefix[sync]; });
  if (after == stream.begin()) return kNone;
  const uint32_t found = *std::prev(after);
  const Activity& a = graph.view->activities[found];
  const int64_t end = graph.syncs[sync].end_ns;
  return a.end_ns <= end && a.start_ns < end ? found : kNone;
}

/// What each synchronising call waited for.
void resolve_syncs(const GpuView& view, ReplayGraph& graph) {
  if (graph.syncs.empty()) return;
  std::vector<std::vector<uint32_t>> on_track(view.trace->tracks.size());
  for (uint32_t i = 0; i < graph.nodes.size(); ++i) {
    if (graph.launch_order[i] != kNone) on_track[view.activities[i].track].push_back(i);
  }
  const std::vector<uint16_t> tracks = sync_tracks(*view.trace, graph.syncs);
  PrefixMax ended(graph.nodes.size());
  for (const ReplayGraph::Item& item : graph.order) {
    if (item.step == ReplayGraph::Step::kStart) continue;
    if (item.step != ReplayGraph::Step::kSync) {
      const uint32_t position = graph.launch_order[item.index];
      if (position != kNone) ended.add(position, {view.activities[item.index].end_ns, item.index});
      continue;
    }
    HostSync& sync = graph.syncs[item.index];
    if (sync.kind == HostSync::Kind::kStream && tracks[item.index] != kNoTrack) {
      sync.waited = last_on_stream(graph, on_track[tracks[item.index]], item.index);
    } else if (sync.kind != HostSync::Kind::kPoll) {
      const auto last = ended.below(graph.sync_prefix[item.index]);
      const bool during = last.value > sync.start_ns;
      if (sync.kind == HostSync::Kind::kDevice || during) sync.waited = last.index;
    }
    int64_t base = sync.start_ns;
    if (sync.waited != kNone) {
      const Activity& a = view.activities[sync.waited];
      sync.waited_part_ns = std::min(a.duration_ns(), sync.end_ns - a.start_ns);
      base = std::max(base, a.start_ns + sync.waited_part_ns);
    }
    sync.delay_ns = sync.end_ns - base;
  }
}

/// The latest of the causes of an activity, by the times that `at` gives.
struct Latest {
  Cause cause = Cause::kBegin;
  int64_t time_ns = 0;
};
Latest latest(int64_t begin_ns, int64_t stream_ns, int64_t gate_ns, int64_t launch_ns) {
  Latest found{Cause::kBegin, begin_ns};
  if (stream_ns >= found.time_ns) found = {Cause::kStream, stream_ns};
  if (gate_ns > found.time_ns) found = {Cause::kGate, gate_ns};
  if (launch_ns > found.time_ns) found = {Cause::kLaunch, launch_ns};
  return found;
}

void find_causes(const GpuView& view, ReplayGraph& graph) {
  for (uint32_t i = 0; i < graph.nodes.size(); ++i) {
    CauseNode& node = graph.nodes[i];
    int64_t stream = INT64_MIN, gate = INT64_MIN;
    if (node.previous != kNone) {
      stream = view.activities[node.previous].start_ns + node.previous_part_ns;
    }
    if (node.gate != kNone) gate = view.activities[node.gate].end_ns;
    const Latest found = latest(graph.start_ns, stream, gate, node.launch_ns);
    node.cause = found.cause;
    node.delay_ns = view.activities[i].start_ns - found.time_ns;
  }
}

// Scenarios, compiled for one graph.

bool speaks_of(const Change& change, const Activity& a) {
  using What = Change::What;
  const bool communicates = a.kind == Class::kCommunication;
  switch (change.what) {
    case What::kAll: return true;
    case What::kCompute: return a.kind == Class::kCompute;
    case What::kCommunication: return communicates;
    case What::kMemory: return a.kind == Class::kMemory;
    case What::kTransfer: return communicates && a.role != Role::kBarrier;
    case What::kBarrier: return communicates && a.role == Role::kBarrier;
    case What::kLayout: return a.role == Role::kLayout;
    case What::kName:
    case What::kRegion:
    case What::kGaps:
    case What::kHost: break;
  }
  return false;
}

int64_t changed(const Change& change, int64_t ns) {
  if (change.set_ns >= 0) return change.set_ns;
  return change.factor == 1 ? ns : round_saturated(static_cast<double>(ns) * change.factor);
}

struct Compiled {
  std::vector<int64_t> duration_ns, delay_ns;  // as the activities
  double host_factor = 1;
  uint64_t affected = 0;
  int64_t affected_ns = 0;

  void note(int64_t ns) {
    ++affected;
    affected_ns = add_saturated(affected_ns, ns);
  }
};

/// Which names or regions a change's pattern matches.
std::vector<bool> pattern_matches(const GpuView& view, const Change& change) {
  std::vector<bool> found;
  if (change.what == Change::What::kName) {
    for (const std::string& text : view.trace->names) {
      found.push_back(matches(change.pattern, text));
    }
  } else if (change.what == Change::What::kRegion) {
    for (const Region& region : view.regions) {
      found.push_back(matches(change.pattern,
                              fmt::format("{}#{}", view.trace->names[region.name], region.index)));
    }
  }
  return found;
}

bool is_host_delay(const CauseNode& node) {
  return node.cause == Cause::kLaunch && node.delay_ns <= kKernelWaitNs;
}

Compiled compile(const ReplayGraph& graph, const Scenario& scenario) {
  using What = Change::What;
  const GpuView& view = *graph.view;
  Compiled out;
  out.duration_ns.reserve(graph.nodes.size());
  for (const Activity& a : view.activities) out.duration_ns.push_back(a.duration_ns());
  for (const CauseNode& node : graph.nodes) out.delay_ns.push_back(node.delay_ns);
  std::vector<bool> done(graph.nodes.size()), delay_done(graph.nodes.size());
  bool host_done = false;
  for (const Change& change : scenario.changes) {
    const bool delays = change.what == What::kGaps || change.what == What::kHost;
    if (change.what == What::kHost && !std::exchange(host_done, true)) {
      out.host_factor = change.factor;
    }
    const std::vector<bool> found = pattern_matches(view, change);
    for (uint32_t i = 0; i < graph.nodes.size(); ++i) {
      const Activity& a = view.activities[i];
      const CauseNode& node = graph.nodes[i];
      if (delays) {
        if (node.delay_ns == 0 || delay_done[i] ||
            is_host_delay(node) != (change.what == What::kHost)) {
          continue;
        }
        delay_done[i] = true;
        out.delay_ns[i] = changed(change, node.delay_ns);
        out.note(node.delay_ns);
        continue;
      }
      const bool named = change.what == What::kName && found[a.name];
      const bool placed = change.what == What::kRegion && a.region != kNone && found[a.region];
      if (done[i] || !(named || placed || speaks_of(change, a))) continue;
      done[i] = true;
      out.duration_ns[i] = changed(change, a.duration_ns());
      out.note(a.duration_ns());
    }
  }
  return out;
}

/// One evaluation of the graph.
class Evaluation {
 public:
  Evaluation(const ReplayGraph& graph, Compiled compiled, bool host_follows)
      : graph_(graph),
        all_(graph.view->activities),
        new_(std::move(compiled)),
        follows_(host_follows),
        ended_(graph.syncs.empty() ? 0 : all_.size()) {
    out_.start_ns.resize(all_.size());
    out_.end_ns.resize(all_.size());
    out_.sync_end_ns.resize(graph.syncs.size());
    for (const CauseNode& node : graph.nodes) {
      if (node.launch_ns != INT64_MIN) host_begin_ns_ = std::min(host_begin_ns_, node.launch_ns);
    }
    for (const HostSync& sync : graph.syncs) {
      host_begin_ns_ = std::min(host_begin_ns_, sync.start_ns);
    }
  }

  Replay run() {
    int64_t end = graph_.start_ns;
    for (const ReplayGraph::Item& item : graph_.order) {
      switch (item.step) {
        case ReplayGraph::Step::kStart:
          start(item.index);
          end = std::max(end, out_.end_ns[item.index]);
          break;
        case ReplayGraph::Step::kSync: out_.sync_end_ns[item.index] = sync_end(item.index); break;
        case ReplayGraph::Step::kEnd:
        case ReplayGraph::Step::kEndOfEmpty: {
          const uint32_t position = graph_.launch_order[item.index];
          if (position != kNone) ended_.add(position, {out_.end_ns[item.index], item.index});
        }
      }
    }
    out_.span_ns = subtract_saturated(end, graph_.start_ns);
    return std::move(out_);
  }

 private:
  /// The new time of a moment of the host, after the synchronising call `sync` of its thread.
  int64_t host(int64_t time_ns, uint32_t sync) const {
    const int64_t from = sync == kNone ? host_begin_ns_ : graph_.syncs[sync].end_ns;
    const int64_t new_from = sync == kNone ? host_begin_ns_ : out_.sync_end_ns[sync];
    const int64_t passed = subtract_saturated(time_ns, from);
    if (new_.host_factor == 1) return add_saturated(new_from, passed);
    return add_saturated(new_from, round_saturated(static_cast<double>(passed) * new_.host_factor));
  }

  int64_t sync_end(uint32_t index) const {
    const HostSync& sync = graph_.syncs[index];
    if (!follows_) return sync.end_ns;
    int64_t base = host(sync.start_ns, sync.previous);
    if (sync.kind == HostSync::Kind::kDevice) {
      base = std::max(base, ended_.below(graph_.sync_prefix[index]).value);
    } else if (sync.waited != kNone) {
      base = std::max(base, passed(sync.waited, sync.waited_part_ns));
    }
    return add_saturated(base, sync.delay_ns);
  }

  /// When `part_ns` of an activity's old duration, in its new measure, had passed.
  int64_t passed(uint32_t i, int64_t part_ns) const {
    const int64_t old = all_[i].duration_ns(), now = new_.duration_ns[i];
    if (part_ns == old) return out_.end_ns[i];
    if (now == old) return add_saturated(out_.start_ns[i], part_ns);
    const double share = static_cast<double>(part_ns) / static_cast<double>(old);
    return add_saturated(out_.start_ns[i], round_saturated(static_cast<double>(now) * share));
  }

  void start(uint32_t i) {
    const CauseNode& node = graph_.nodes[i];
    const int64_t stream =
        node.previous == kNone ? INT64_MIN : passed(node.previous, node.previous_part_ns);
    const int64_t gate = node.gate == kNone ? INT64_MIN : out_.end_ns[node.gate];
    const int64_t launch =
        node.launch_ns == INT64_MIN ? INT64_MIN : host(node.launch_ns, node.sync);
    const int64_t base = latest(graph_.start_ns, stream, gate, launch).time_ns;
    out_.start_ns[i] = add_saturated(base, new_.delay_ns[i]);
    out_.end_ns[i] = add_saturated(out_.start_ns[i], new_.duration_ns[i]);
  }

  const ReplayGraph& graph_;
  const std::vector<Activity>& all_;
  Compiled new_;
  bool follows_;
  PrefixMax ended_;
  int64_t host_begin_ns_ = INT64_MAX;
  Replay out_;
};

// The language of scenarios.

struct Word {
  std::string_view text;
  Change::What what;
};
constexpr Word kWords[] = {
    {"all", Change::What::kAll},
    {"compute", Change::What::kCompute},
    {"communication", Change::What::kCommunication},
    {"memory", Change::What::kMemory},
    {"transfer", Change::What::kTransfer},
    {"barrier", Change::What::kBarrier},
    {"layout", Change::What::kLayout},
    {"gaps", Change::What::kGaps},
    {"host", Change::What::kHost},
};

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

Result<Change> parse_subject(std::string_view subject, std::string_view whole) {
  Change change;
  for (const auto& [prefix, what] :
       {std::pair<std::string_view, Change::What>{"name~", Change::What::kName},
        {"region~", Change::What::kRegion}}) {
    if (!subject.starts_with(prefix)) continue;
    change.what = what;
    change.pattern = subject.substr(prefix.size());
    if (!change.pattern.empty()) return change;
  }
  for (const Word& word : kWords) {
    if (word.text != subject) continue;
    change.what = word.what;
    return change;
  }
  return fail(Code::kInvalidArgument,
              fmt::format("the what-if \"{}\" changes \"{}\"; it must be all, compute, "
                          "communication, transfer, barrier, layout, memory, gaps, host, "
                          "name~PATTERN or region~PATTERN",
                          whole, subject));
}

Result<Change> parse_change(std::string_view text) {
  constexpr double kFactorMax = 1000;
  // The last of them: a pattern may contain stars.
  const size_t at = text.find_last_of("*=");
  if (at == text.npos) {
    return fail(Code::kInvalidArgument,
                fmt::format("the what-if \"{}\" has no * or =; it must be like barrier=0, "
                            "transfer*0.8 or name~gemm=50us",
                            text));
  }
  Change change = TRY(parse_subject(trimmed(text.substr(0, at)), text));
  const std::string_view value = trimmed(text.substr(at + 1));
  if (text[at] == '*') {
    const std::optional<double> factor = parse_number(value);
    if (!factor || !(*factor >= 0 && *factor <= kFactorMax)) {
      return fail(Code::kInvalidArgument,
                  fmt::format("the what-if \"{}\" has the factor \"{}\"; it must be a number from "
                              "0 to 1000",
                              text, value));
    }
    change.factor = *factor;
    return change;
  }
  const std::optional<int64_t> time = parse_duration(value);
  if (!time || *time < 0 || (change.what == Change::What::kHost && *time != 0)) {
    return fail(Code::kInvalidArgument,
                fmt::format("the what-if \"{}\" has the time \"{}\"; it must be 0{}", text, value,
                            change.what == Change::What::kHost ? " for the host"
                                                               : " or more, with ns, us, ms or s"));
  }
  change.set_ns = *time;
  if (change.what == Change::What::kHost) change.factor = 0;
  return change;
}

}  // namespace

std::string_view name(Cause cause) {
  switch (cause) {
    case Cause::kStream: return "stream";
    case Cause::kGate: return "gate";
    case Cause::kLaunch: return "launch";
    case Cause::kBegin: break;
  }
  return "begin";
}

ReplayGraph replay_graph(const GpuView& view) {
  ReplayGraph graph;
  graph.view = &view;
  graph.nodes.resize(view.activities.size());
  if (view.activities.empty()) return graph;
  graph.start_ns = view.activities.front().start_ns;
  graph.end_ns = graph.start_ns;
  for (const Activity& a : view.activities) graph.end_ns = std::max(graph.end_ns, a.end_ns);
  graph.syncs = find_syncs(view);
  find_previous(view, graph.nodes);
  find_gates(view, graph.nodes);
  find_launches(view, graph);
  graph.order = total_order(graph);
  resolve_syncs(view, graph);
  find_causes(view, graph);
  return graph;
}

Result<Scenario> parse_scenario(std::string_view text) {
  Scenario scenario;
  scenario.text = text;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    scenario.changes.push_back(TRY(parse_change(trimmed(text.substr(begin, end - begin)))));
    begin = end + 1;
  }
  return scenario;
}

Replay replay(const ReplayGraph& graph, const Scenario& scenario) {
  return Evaluation(graph, compile(graph, scenario), scenario.host_follows).run();
}

WhatIf what_if(const ReplayGraph& graph, const Scenario& scenario) {
  Compiled compiled = compile(graph, scenario);
  WhatIf result{.scenario = scenario.text,
                .span_ns = graph.span_ns(),
                .affected = compiled.affected,
                .affected_ns = compiled.affected_ns};
  result.new_span_ns = Evaluation(graph, std::move(compiled), scenario.host_follows).run().span_ns;
  return result;
}

Json to_json(const WhatIf& result) {
  const double percent = result.span_ns > 0 ? 100.0 * static_cast<double>(result.gain_ns()) /
                                                  static_cast<double>(result.span_ns)
                                            : 0;
  return {{"scenario", result.scenario},
          {"span_us", us(result.span_ns)},
          {"new_span_us", us(result.new_span_ns)},
          {"gain_us", us(result.gain_ns())},
          {"gain_percent", percent},
          {"affected", result.affected},
          {"affected_us", us(result.affected_ns)}};
}

}  // namespace hadal::trace
