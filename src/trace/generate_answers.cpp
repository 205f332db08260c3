#include "trace/generate_answers.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <nlohmann/json.hpp>

namespace hadal::trace::gen {
namespace {

/// Walks the time between edges, told how many activities of each kind run.
class Counter {
 public:
  explicit Counter(Times& times) : times_(times) {}

  void advance(int64_t duration_ns, const std::array<int, 4>& running) {
    if (duration_ns == 0) return;  // pieces that touch are one
    const bool compute = running[0] > 0, transfer = running[1] > 0, barrier = running[2] > 0;
    const bool memory = running[3] > 0, communication = transfer || barrier;
    const auto add = [&](int64_t& total, bool is) { total += is ? duration_ns : 0; };
    add(times_.busy_ns, compute || communication || memory);
    add(times_.compute_ns, compute);
    add(times_.communication_ns, communication);
    add(times_.memory_ns, memory);
    add(times_.transfer_ns, transfer);
    add(times_.barrier_ns, barrier);
    add(times_.overlap_ns, compute && communication);
    add(times_.exposed_communication_ns, communication && !compute);
    add(times_.exposed_memory_ns, memory && !communication && !compute);
    if (communication && !compute) {
      piece_ns_ += duration_ns;
    } else {
      end_piece();
    }
  }
  void end_piece() {
    if (piece_ns_ == 0) return;
    ++times_.exposed_pieces;
    if (piece_ns_ > kStructuralNs) {
      ++times_.structural_pieces;
      times_.structural_exposed_ns += piece_ns_;
    }
    piece_ns_ = 0;
  }

 private:
  Times& times_;
  int64_t piece_ns_ = 0;
};

void add(Times& total, const Times& t) {
  total.busy_ns += t.busy_ns;
  total.compute_ns += t.compute_ns;
  total.communication_ns += t.communication_ns;
  total.memory_ns += t.memory_ns;
  total.barrier_ns += t.barrier_ns;
  total.transfer_ns += t.transfer_ns;
  total.overlap_ns += t.overlap_ns;
  total.exposed_communication_ns += t.exposed_communication_ns;
  total.exposed_memory_ns += t.exposed_memory_ns;
  total.exposed_pieces += t.exposed_pieces;
  total.structural_exposed_ns += t.structural_exposed_ns;
  total.structural_pieces += t.structural_pieces;
}

bool is_visible(const WorkItem& item) {
  return !item.missing && item.damage != static_cast<int8_t>(FaultKind::kZeroTimes);
}

template <typename T>
T& by_name(std::vector<T>& list, std::string_view name) {
  for (T& entry : list) {
    if (entry.name == name) return entry;
  }
  list.emplace_back();
  list.back().name = name;
  return list.back();
}

}  // namespace

Times count_times(std::span<const LaneSpan> spans) {
  Times times;
  if (spans.empty()) return times;
  struct Edge {
    int64_t at_ns;
    int change;
    Work lane;
  };
  std::vector<Edge> edges;
  edges.reserve(2 * spans.size());
  for (const LaneSpan& s : spans) {
    edges.push_back({s.start_ns, 1, s.lane});
    edges.push_back({s.end_ns, -1, s.lane});
  }
  std::sort(edges.begin(), edges.end(),
            [](const Edge& a, const Edge& b) { return a.at_ns < b.at_ns; });
  std::array<int, 4> running{};
  Counter counter(times);
  int64_t now = edges.front().at_ns;
  for (const Edge& edge : edges) {
    counter.advance(edge.at_ns - now, running);
    now = edge.at_ns;
    running[static_cast<size_t>(edge.lane)] += edge.change;
  }
  counter.end_piece();
  times.span_ns = edges.back().at_ns - edges.front().at_ns;
  times.idle_ns = times.span_ns - times.busy_ns;
  return times;
}

int64_t Clock::at(int64_t true_ns) const {
  const auto drift = static_cast<__int128>(true_ns) * drift_ppb / 1'000'000'000;
  const int64_t t = true_ns + static_cast<int64_t>(drift);
  return t - t % resolution_ns;
}

Clock clock_of(const Scenario& scenario, int rank, int64_t resolution_ns) {
  const auto r = static_cast<size_t>(rank);
  Clock clock;
  clock.resolution_ns = resolution_ns;
  if (r < scenario.clock_offsets_ns.size()) {
    clock.offset_ns = scenario.clock_offsets_ns[r] / resolution_ns * resolution_ns;
  }
  if (r < scenario.clock_drifts_ppm.size()) {
    clock.drift_ppb = std::llround(scenario.clock_drifts_ppm[r] * 1000);
  }
  return clock;
}

Tally::Tally(const Scenario& scenario, const Machine& machine) {
  ranks_.resize(static_cast<size_t>(scenario.ranks));
  for (size_t r = 0; r < ranks_.size(); ++r) {
    Rank& rank = ranks_[r];
    rank.clock = clock_of(scenario, static_cast<int>(r), machine.resolution_ns());
    rank.answers.clock_offset_ns = rank.clock.offset_ns;
    rank.answers.clock_drift_ppm = static_cast<double>(rank.clock.drift_ppb) / 1000;
  }
}

void Tally::add_step(const Machine& machine) {
  ++answers_.steps;
  for (size_t r = 0; r < ranks_.size(); ++r) {
    Rank& tally = ranks_[r];
    add_activities(tally, machine.ranks()[r]);
    add_kernels(tally);
    add_regions(tally, machine);
    add_critical_path(tally.answers.critical_path, machine.ranks()[r]);
  }
  add_collectives(machine);
}

void Tally::add_activities(Rank& tally, const RankState& rank) {
  tally.activities.clear();
  std::vector<LaneSpan> spans;
  for (const WorkItem& item : rank.work) {
    if (!is_visible(item)) continue;
    const Call& launch = rank.calls[item.call];
    Activity a;
    a.start_ns = tally.clock.at(item.start_ns);
    a.end_ns = tally.clock.at(item.end_ns);
    a.launch_start_ns = tally.clock.at(launch.start_ns);
    a.launch_end_ns = tally.clock.at(launch.end_ns);
    a.name = spec(item.kernel).name;
    a.work = spec(item.kernel).work;
    a.stream = kStreamIds[static_cast<size_t>(item.stream)];
    a.correlation = launch.correlation;
    a.region = item.region < 0 ? -1 : static_cast<int>(tally.num_regions) + item.region;
    tally.activities.push_back(a);
    spans.push_back({a.start_ns, a.end_ns, a.work});
    tally.first_start_ns = std::min(tally.first_start_ns, a.start_ns);
    tally.last_end_ns = std::max(tally.last_end_ns, a.end_ns);

    LaunchDelays& delays = tally.answers.launch_delays;
    const int64_t delay = a.start_ns - a.launch_end_ns;
    ++delays.count;
    if (delay < 0) ++delays.negative;
    tally.delays.push_back(std::max<int64_t>(0, delay));
    delays.total_ns += tally.delays.back();
    delays.max_ns = std::max(delays.max_ns, tally.delays.back());
  }
  add(tally.answers.times, count_times(spans));
}

void Tally::add_kernels(Rank& tally) {
  for (const Activity& a : tally.activities) {
    KernelTotal& total = by_name(tally.answers.kernels, a.name);
    ++total.count;
    total.total_ns += a.end_ns - a.start_ns;
  }
}

void Tally::add_regions(Rank& tally, const Machine& machine) {
  const std::vector<RegionInfo>& regions = machine.regions();
  std::vector<std::vector<LaneSpan>> spans(regions.size());
  for (const Activity& a : tally.activities) {
    if (a.region < 0) continue;
    spans[static_cast<size_t>(a.region - tally.num_regions)].push_back(
        {a.start_ns, a.end_ns, Work::kCompute});
  }
  for (size_t i = 0; i < regions.size(); ++i) {
    RegionAnswer region;
    region.name = regions[i].name;
    region.index = regions[i].index;
    region.activities = static_cast<int64_t>(spans[i].size());
    if (!spans[i].empty()) {
      const Times times = count_times(spans[i]);
      region.busy_ns = times.busy_ns;
      region.gpu_start_ns =
          std::min_element(spans[i].begin(), spans[i].end(), [](auto& a, auto& b) {
            return a.start_ns < b.start_ns;
          })->start_ns;
      region.gpu_end_ns = region.gpu_start_ns + times.span_ns;
    }
    RegionTotal& total = by_name(tally.answers.regions, region.name);
    ++total.count;
    total.activities += region.activities;
    total.busy_ns += region.busy_ns;
    if (tally.answers.region_list.size() < kListedMax) tally.answers.region_list.push_back(region);
  }
  tally.num_regions += static_cast<int64_t>(regions.size());
}

// From the item that ends last back to the first call of the step, along what each waited for.
void Tally::add_critical_path(CriticalPath& path, const RankState& rank) {
  if (rank.work.empty()) return;
  size_t at = 0;
  for (size_t i = 0; i < rank.work.size(); ++i) {
    if (rank.work[i].end_ns > rank.work[at].end_ns) at = i;
  }
  int64_t until = rank.work[at].end_ns;  // the path is explained from here on
  while (true) {
    const WorkItem& item = rank.work[at];
    const Work work = spec(item.kernel).work;
    int64_t& own = work == Work::kCompute  ? path.compute_ns
                   : work == Work::kMemory ? path.memory_ns
                                           : path.communication_ns;
    own += std::max<int64_t>(0, until - item.start_ns);
    until = std::min(until, item.start_ns);
    if (item.after >= 0) {
      at = static_cast<size_t>(item.after);
      path.delay_ns += std::max<int64_t>(0, until - rank.work[at].end_ns);
      until = std::min(until, rank.work[at].end_ns);
      continue;
    }
    const Call& launch = rank.calls[item.call];
    path.delay_ns += std::max<int64_t>(0, until - launch.end_ns);
    until = std::min(until, launch.end_ns);
    path.host_ns += until - launch.anchor.time_ns;
    until = launch.anchor.time_ns;
    if (launch.anchor.item < 0) break;
    at = static_cast<size_t>(launch.anchor.item);
    const WorkItem& waited = rank.work[at];
    const int64_t released = launch.anchor.at_start ? waited.start_ns : waited.end_ns;
    path.delay_ns += std::max<int64_t>(0, until - released);
    until = std::min(until, released);
  }
  path.total_ns =
      path.compute_ns + path.communication_ns + path.memory_ns + path.host_ns + path.delay_ns;
}

void Tally::add_collectives(const Machine& machine) {
  for (const CollectiveAnswer& c : machine.collectives()) {
    ++answers_.num_collectives;
    const auto last = std::max_element(c.start_ns.begin(), c.start_ns.end());
    ++ranks_[static_cast<size_t>(last - c.start_ns.begin())].answers.last_at_collectives;
    for (size_t r = 0; r < ranks_.size(); ++r) {
      ranks_[r].answers.collective_wait_ns += *last - c.start_ns[r];
    }
    if (answers_.collectives.size() < kListedMax) answers_.collectives.push_back(c);
  }
}

Answers Tally::finish(const Machine& machine) {
  int64_t waited = 0;
  for (Rank& rank : ranks_) {
    Times& times = rank.answers.times;
    if (rank.last_end_ns > rank.first_start_ns) {
      times.span_ns = rank.last_end_ns - rank.first_start_ns;
    }
    times.idle_ns = times.span_ns - times.busy_ns;
    if (!rank.delays.empty()) {
      const auto middle =
          rank.delays.begin() + static_cast<ptrdiff_t>((rank.delays.size() - 1) / 2);
      std::nth_element(rank.delays.begin(), middle, rank.delays.end());
      rank.answers.launch_delays.median_ns = *middle;
    }
    const auto name_less = [](const auto& a, const auto& b) { return a.name < b.name; };
    std::sort(rank.answers.kernels.begin(), rank.answers.kernels.end(), name_less);
    std::sort(rank.answers.regions.begin(), rank.answers.regions.end(), name_less);
    waited += rank.answers.collective_wait_ns;
    answers_.ranks.push_back(std::move(rank.answers));
  }
  const auto ranks = static_cast<int64_t>(answers_.ranks.size());
  if (ranks > 1 && answers_.num_collectives > 0) {
    const auto least = std::min_element(
        answers_.ranks.begin(), answers_.ranks.end(),
        [](const auto& a, const auto& b) { return a.collective_wait_ns < b.collective_wait_ns; });
    answers_.straggler = static_cast<int>(least - answers_.ranks.begin());
    answers_.straggler_lead_ns =
        (waited - least->collective_wait_ns) / (ranks - 1) - least->collective_wait_ns;
  }
  answers_.injected = machine.injected();
  return std::move(answers_);
}

// --- JSON ---------------------------------------------------------------------------------------

namespace {

using Json = nlohmann::ordered_json;

double us(int64_t ns) {
  return static_cast<double>(ns) / 1000;
}

Json json_of(const Times& t) {
  return {{"span_us", us(t.span_ns)},
          {"busy_us", us(t.busy_ns)},
          {"idle_us", us(t.idle_ns)},
          {"compute_us", us(t.compute_ns)},
          {"communication_us", us(t.communication_ns)},
          {"transfer_us", us(t.transfer_ns)},
          {"barrier_us", us(t.barrier_ns)},
          {"memory_us", us(t.memory_ns)},
          {"overlap_us", us(t.overlap_ns)},
          {"exposed_communication_us", us(t.exposed_communication_ns)},
          {"exposed_memory_us", us(t.exposed_memory_ns)},
          {"exposed_pieces", t.exposed_pieces},
          {"structural_exposed_us", us(t.structural_exposed_ns)},
          {"structural_pieces", t.structural_pieces}};
}

Json json_of(const EventCounts& e) {
  return {{"cpu_op", e.cpu_op},
          {"user_annotation", e.user_annotation},
          {"gpu_user_annotation", e.gpu_user_annotation},
          {"python_function", e.python_function},
          {"memory_instant", e.memory_instant},
          {"cuda_runtime", e.runtime},
          {"cuda_driver", e.driver},
          {"kernel", e.kernel},
          {"gpu_memcpy", e.memcpy},
          {"gpu_memset", e.memset},
          {"flow_start", e.flow_start},
          {"flow_finish", e.flow_finish},
          {"metadata", e.metadata},
          {"other", e.other},
          {"unreadable", e.unreadable}};
}

Json json_of(const RankAnswers& rank) {
  Json json;
  json["clock_offset_us"] = us(rank.clock_offset_ns);
  json["clock_drift_ppm"] = rank.clock_drift_ppm;
  json["bytes"] = rank.bytes;
  if (rank.truncated_at >= 0) json["truncated_at"] = rank.truncated_at;
  json["times"] = json_of(rank.times);
  json["events"] = json_of(rank.events);
  const LaunchDelays& d = rank.launch_delays;
  json["launch_delays"] = {{"count", d.count},
                           {"total_us", us(d.total_ns)},
                           {"median_us", us(d.median_ns)},
                           {"max_us", us(d.max_ns)},
                           {"negative", d.negative}};
  const CriticalPath& c = rank.critical_path;
  json["critical_path"] = {{"total_us", us(c.total_ns)},
                           {"compute_us", us(c.compute_ns)},
                           {"communication_us", us(c.communication_ns)},
                           {"memory_us", us(c.memory_ns)},
                           {"host_us", us(c.host_ns)},
                           {"delay_us", us(c.delay_ns)}};
  json["collective_wait_us"] = us(rank.collective_wait_ns);
  json["last_at_collectives"] = rank.last_at_collectives;
  Json& kernels = json["kernels"] = Json::array();
  for (const KernelTotal& k : rank.kernels) {
    kernels.push_back({{"name", k.name}, {"count", k.count}, {"total_us", us(k.total_ns)}});
  }
  Json& totals = json["regions"] = Json::array();
  for (const RegionTotal& r : rank.regions) {
    totals.push_back({{"name", r.name},
                      {"count", r.count},
                      {"activities", r.activities},
                      {"busy_us", us(r.busy_ns)}});
  }
  Json& list = json["region_list"] = Json::array();
  for (const RegionAnswer& r : rank.region_list) {
    list.push_back({{"name", r.name},
                    {"index", r.index},
                    {"gpu_start_us", us(r.gpu_start_ns)},
                    {"gpu_end_us", us(r.gpu_end_ns)},
                    {"busy_us", us(r.busy_ns)},
                    {"activities", r.activities}});
  }
  return json;
}

}  // namespace

std::string to_json(const Scenario& scenario, const Answers& answers) {
  Json json;
  json["schedule"] = kScheduleNames[static_cast<size_t>(scenario.schedule)];
  json["format"] = kFormatNames[static_cast<size_t>(scenario.format)];
  json["layers"] = scenario.layers;
  json["micro_batches"] = scenario.micro_batches;
  json["steps"] = answers.steps;
  json["seed"] = scenario.seed;
  json["num_collectives"] = answers.num_collectives;
  json["straggler"] = answers.straggler;
  json["straggler_lead_us"] = us(answers.straggler_lead_ns);
  Json& faults = json["faults"] = Json::array();
  for (const Injected& i : answers.injected) {
    faults.push_back({{"fault", info(i.fault.kind).name},
                      {"rank", i.fault.rank},
                      {"count", i.count},
                      {"extra_us", us(i.extra_ns)}});
  }
  Json& ranks = json["ranks"] = Json::array();
  for (const RankAnswers& rank : answers.ranks) ranks.push_back(json_of(rank));
  Json& collectives = json["collectives"] = Json::array();
  for (const CollectiveAnswer& c : answers.collectives) {
    Json starts = Json::array();
    for (const int64_t start : c.start_ns) starts.push_back(us(start));
    collectives.push_back({{"kernel", c.kernel},
                           {"sequence", c.sequence},
                           {"start_us", std::move(starts)},
                           {"end_us", us(c.end_ns)}});
  }
  return json.dump(1) + "\n";
}

}  // namespace hadal::trace::gen
