#include "trace/ranks.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "trace/comm_bandwidth.h"
#include "trace/rank_clocks.h"
#include "trace/rank_match.h"
#include "trace/saturate.h"

namespace hadal::trace {
namespace {

constexpr size_t kWorstShown = 20;

/// Figures of each collective on the common clock, and the sums of its members.
void measure(RanksUse& use, const Clocks& clocks) {
  for (CollectiveMember& m : use.members) {
    m.start_ns = clocks.common(m.rank, m.start_ns);
    m.end_ns = clocks.common(m.rank, m.end_ns);
  }
  for (Collective& c : use.collectives) {
    const auto members = std::span(use.members).subspan(c.begin, c.end - c.begin);
    const auto starts = std::ranges::minmax(members, {}, &CollectiveMember::start_ns);
    const auto ends = std::ranges::minmax(members, {}, &CollectiveMember::end_ns);
    const int64_t latest = starts.max.start_ns;
    // The first of several that start at the same time, so that ties do not depend on anything.
    c.last = std::ranges::max_element(members, {}, &CollectiveMember::start_ns)->rank;
    c.start_ns = starts.min.start_ns;
    c.start_skew_ns = subtract_saturated(latest, c.start_ns);
    c.end_skew_ns = subtract_saturated(ends.max.end_ns, ends.min.end_ns);
    c.latency_ns = INT64_MAX;
    for (const CollectiveMember& m : members) {
      const int64_t wait = subtract_saturated(latest, m.start_ns);
      c.latency_ns = std::min(c.latency_ns, subtract_saturated(m.end_ns, m.start_ns));
      c.wait_ns = add_saturated(c.wait_ns, wait);
      RankUse& rank = use.ranks[m.rank];
      ++rank.collectives;
      rank.last += m.rank == c.last ? 1 : 0;
      rank.wait_ns = add_saturated(rank.wait_ns, wait);
    }
  }
  for (RankUse& rank : use.ranks) {
    if (rank.collectives == 0) continue;
    rank.mean_wait_ns = static_cast<double>(rank.wait_ns) / static_cast<double>(rank.collectives);
  }
}

double median_of(std::vector<double> values) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// The rank that was last most often among these collectives.
void find_last(std::span<const Collective> collectives, size_t num_ranks, CollectiveKind& kind) {
  std::vector<uint64_t> last(num_ranks);
  for (const Collective& c : collectives) ++last[c.last];
  const auto most = std::ranges::max_element(last);
  kind.last = static_cast<uint32_t>(most - last.begin());
  kind.last_count = *most;
}

void describe_kind(std::span<const Collective> collectives, CollectiveKind& kind) {
  std::vector<int64_t> start_skews, end_skews, latencies, sizes;
  std::vector<double> rates;
  for (const Collective& c : collectives) {
    start_skews.push_back(c.start_skew_ns);
    end_skews.push_back(c.end_skew_ns);
    latencies.push_back(c.latency_ns);
    kind.wait_ns = add_saturated(kind.wait_ns, c.wait_ns);
    if (c.bytes == 0 || c.latency_ns <= 0) continue;
    sizes.push_back(static_cast<int64_t>(c.bytes));
    rates.push_back(static_cast<double>(c.bytes) / static_cast<double>(c.latency_ns));
  }
  kind.count = collectives.size();
  kind.start_skew = duration_stats(std::move(start_skews));
  kind.end_skew = duration_stats(std::move(end_skews));
  kind.latency = duration_stats(std::move(latencies));
  kind.bytes = static_cast<uint64_t>(median(sizes));
  kind.algbw_gb_s = median_of(std::move(rates));
  kind.busbw_gb_s = kind.algbw_gb_s * bus_factor(kind.collective, kind.num_ranks);
}

/// Fills the kinds, drops those without matches, and puts both lists in their order.
void summarize_kinds(RanksUse& use) {
  for (size_t begin = 0, end = 0; begin < use.collectives.size(); begin = end) {
    const uint32_t kind = use.collectives[begin].kind;
    while (end < use.collectives.size() && use.collectives[end].kind == kind) ++end;
    const auto own = std::span<const Collective>(use.collectives).subspan(begin, end - begin);
    describe_kind(own, use.kinds[kind]);
    find_last(own, use.ranks.size(), use.kinds[kind]);
  }
  std::vector<uint32_t> order;
  for (uint32_t k = 0; k < use.kinds.size(); ++k) {
    if (use.kinds[k].count > 0) order.push_back(k);
  }
  std::ranges::sort(order, [&](uint32_t x, uint32_t y) {
    const int64_t wait_x = use.kinds[x].wait_ns, wait_y = use.kinds[y].wait_ns;
    return wait_x != wait_y ? wait_x > wait_y : x < y;
  });
  std::vector<uint32_t> place(use.kinds.size(), kNone);
  std::vector<CollectiveKind> sorted;
  for (const uint32_t k : order) {
    place[k] = static_cast<uint32_t>(sorted.size());
    sorted.push_back(std::move(use.kinds[k]));
  }
  use.kinds = std::move(sorted);
  for (Collective& c : use.collectives) c.kind = place[c.kind];
  std::ranges::sort(use.collectives, {}, [](const Collective& c) {
    return std::tuple(c.start_ns, c.kind, c.sequence, c.begin);
  });
}

/// Who waited least, in the largest component.
void find_straggler(RanksUse& use) {
  double sum = 0;
  size_t count = 0;
  int64_t uncertain = 0;
  for (uint32_t r = 0; r < use.ranks.size(); ++r) {
    const RankUse& rank = use.ranks[r];
    if (rank.component != 0 || rank.collectives == 0) continue;
    sum += rank.mean_wait_ns;
    ++count;
    uncertain = std::max(uncertain, rank.residual_ns);
    if (use.straggler == kNone || rank.mean_wait_ns < use.ranks[use.straggler].mean_wait_ns) {
      use.straggler = r;
    }
  }
  if (count < 2) {
    use.straggler = kNone;
    return;
  }
  const RankUse& late = use.ranks[use.straggler];
  const double others = (sum - late.mean_wait_ns) / static_cast<double>(count - 1);
  const double lead = others - late.mean_wait_ns;
  use.straggler_lead_ns = round_saturated(lead * static_cast<double>(late.collectives));
  use.straggler_stands_out = lead > static_cast<double>(uncertain);
}

/// Computation of one trace by name of region: the union in each region, summed up.
std::map<std::string, int64_t> compute_by_region(const GpuView& view) {
  std::map<std::string, int64_t> sums;
  std::vector<Interval> outside;
  for (const Activity& a : view.activities) {
    if (a.region == kNone && a.kind == Class::kCompute) outside.push_back({a.start_ns, a.end_ns});
  }
  if (!outside.empty()) sums["(no region)"] = length(unite(std::move(outside)));
  for (const Region& region : view.regions) {
    std::vector<Interval> busy;
    for (const uint32_t i : region.activities) {
      const Activity& a = view.activities[i];
      if (a.kind == Class::kCompute) busy.push_back({a.start_ns, a.end_ns});
    }
    if (busy.empty()) continue;
    int64_t& sum = sums[view.trace->names[region.name]];
    sum = add_saturated(sum, length(unite(std::move(busy))));
  }
  return sums;
}

double ratio(int64_t value, int64_t base) {
  return base > 0 ? static_cast<double>(value) / static_cast<double>(base) : 1;
}

void compare_compute(std::span<const GpuView> views, RanksUse& use) {
  std::map<std::string, RegionCompute> regions;
  for (size_t r = 0; r < views.size(); ++r) {
    for (const auto& [name, ns] : compute_by_region(views[r])) {
      RegionCompute& region = regions[name];
      region.compute_ns.resize(views.size());
      region.compute_ns[r] = ns;
      use.ranks[r].compute_ns = add_saturated(use.ranks[r].compute_ns, ns);
    }
  }
  for (auto& [name, region] : regions) {
    region.name = name;
    std::vector<int64_t> present;
    for (const int64_t ns : region.compute_ns) {
      if (ns > 0) present.push_back(ns);
    }
    region.median_ns = median(present);
    const auto most = std::ranges::max_element(region.compute_ns);
    region.slowest = static_cast<uint32_t>(most - region.compute_ns.begin());
    region.ratio = ratio(*most, region.median_ns);
    use.regions.push_back(std::move(region));
  }
  std::vector<int64_t> totals;
  for (const RankUse& rank : use.ranks) {
    if (rank.compute_ns > 0) totals.push_back(rank.compute_ns);
  }
  if (totals.size() < 2) return;
  const int64_t middle = median(totals);
  for (RankUse& rank : use.ranks) rank.compute_ratio = ratio(rank.compute_ns, middle);
  const auto slowest = std::ranges::max_element(use.ranks, {}, &RankUse::compute_ns);
  use.slowest_compute = static_cast<uint32_t>(slowest - use.ranks.begin());
}

/// "3, 5, 7 and 58 more".
std::string listed(const std::vector<int>& values) {
  constexpr size_t kListed = 8;
  std::string text;
  for (size_t i = 0; i < std::min(values.size(), kListed); ++i) {
    text += fmt::format("{}{}", i == 0 ? "" : ", ", values[i]);
  }
  if (values.size() > kListed) text += fmt::format(" and {} more", values.size() - kListed);
  return text;
}

void find_missing(std::span<const GpuView> views, RanksUse& use) {
  constexpr int kWorldMax = 1'000'000;
  bool differ = false;
  for (const GpuView& view : views) {
    const int size = view.trace->world_size;
    differ |= use.world_size > 0 && size > 0 && size != use.world_size;
    use.world_size = std::max(use.world_size, size);
  }
  std::vector<int> present;
  for (const RankUse& rank : use.ranks) present.push_back(rank.rank);
  std::ranges::sort(present);
  for (int r = 0; r < std::min(use.world_size, kWorldMax); ++r) {
    if (!std::ranges::binary_search(present, r)) use.missing.push_back(r);
  }
  if (differ) use.notes.emplace_back("the traces disagree on the number of ranks of the job");
  if (!use.missing.empty()) {
    use.notes.push_back(
        fmt::format("{} of {} ranks have no trace here ({}); a rank that everybody waited for may "
                    "be among them",
                    use.missing.size(), use.world_size, listed(use.missing)));
  }
}

/// The annotations "ProfilerStep#N" of a trace, as text.
std::vector<std::string_view> steps_of(const Trace& trace) {
  constexpr std::string_view kStep = "ProfilerStep#";
  std::vector<std::string_view> steps;
  const auto first = std::ranges::lower_bound(
      trace.names, kStep, {}, [](const std::string& s) { return std::string_view(s); });
  for (auto at = first; at != trace.names.end() && at->starts_with(kStep); ++at) {
    steps.push_back(*at);
  }
  return steps;
}

void note_steps(std::span<const GpuView> views, RanksUse& use) {
  for (size_t r = 1; r < views.size(); ++r) {
    const auto first = steps_of(*views[0].trace), other = steps_of(*views[r].trace);
    if (first == other) continue;
    const auto described = [](const std::vector<std::string_view>& steps) {
      return steps.empty() ? std::string("no steps")
                           : fmt::format("{} steps from {} on", steps.size(), steps[0]);
    };
    use.notes.push_back(
        fmt::format("rank {} has {} and rank {} has {}: these traces are not of the same steps",
                    use.ranks[0].rank, described(first), use.ranks[r].rank, described(other)));
    return;
  }
}

void note_answers(RanksUse& use) {
  if (use.ranks.size() < 2) {
    use.notes.emplace_back("one trace alone has nobody to be compared with");
  } else if (use.collectives.empty()) {
    use.notes.emplace_back(
        "no collective of one rank was found on another one: the clocks are as the traces say, and "
        "who was late cannot be told");
  } else {
    if (use.num_components > 1) {
      use.notes.push_back(fmt::format(
          "no collective joins all ranks: they fall into {} sets whose clocks cannot be compared",
          use.num_components));
    }
    use.notes.emplace_back(
        "which rank waited for which cannot be told from traces: a rank's wait and how often it "
        "was last are the sums of that matrix");
  }
}

Json stats_json(const DurationStats& stats) {
  return {{"median_us", us(stats.median_ns)},
          {"mean_us", stats.mean_ns / 1000},
          {"p95_us", us(stats.p95_ns)},
          {"max_us", us(stats.max_ns)}};
}

Json rank_json(const RankUse& rank) {
  return {{"rank", rank.rank},
          {"trace", rank.path},
          {"component", rank.component},
          {"offset_us", us(rank.offset_ns)},
          {"drift_ppm", rank.drift_ppm},
          {"residual_us", us(rank.residual_ns)},
          {"collectives", rank.collectives},
          {"last", rank.last},
          {"wait_us", us(rank.wait_ns)},
          {"mean_wait_us", rank.mean_wait_ns / 1000},
          {"span_us", us(rank.span_ns)},
          {"compute_us", us(rank.compute_ns)},
          {"compute_ratio", rank.compute_ratio}};
}

Json kind_json(const RanksUse& use, const CollectiveKind& kind) {
  Json json = {{"collective", kind.collective},
               {"group", kind.group},
               {"matched_by", kind.by_sequence ? "sequence" : "order"},
               {"count", kind.count},
               {"ranks", kind.num_ranks},
               {"wait_us", us(kind.wait_ns)},
               {"start_skew", stats_json(kind.start_skew)},
               {"end_skew", stats_json(kind.end_skew)},
               {"latency", stats_json(kind.latency)},
               {"bytes", nullptr},
               {"algbw_gb_s", nullptr},
               {"busbw_gb_s", nullptr},
               {"last_rank", use.ranks[kind.last].rank},
               {"last_count", kind.last_count}};
  if (kind.bytes > 0) {
    json["bytes"] = kind.bytes;
    json["algbw_gb_s"] = kind.algbw_gb_s;
    json["busbw_gb_s"] = kind.busbw_gb_s;
  }
  return json;
}

Json worst_json(const RanksUse& use) {
  Json list = Json::array();
  for (const Collective* worst : worst_collectives(use, kWorstShown)) {
    const Collective& c = *worst;
    list.push_back({{"collective", use.kinds[c.kind].collective},
                    {"group", use.kinds[c.kind].group},
                    {"sequence", c.sequence},
                    {"start_us", us(c.start_ns)},
                    {"ranks", c.end - c.begin},
                    {"wait_us", us(c.wait_ns)},
                    {"start_skew_us", us(c.start_skew_ns)},
                    {"end_skew_us", us(c.end_skew_ns)},
                    {"latency_us", us(c.latency_ns)},
                    {"last_rank", use.ranks[c.last].rank}});
  }
  return list;
}

}  // namespace

RanksUse compare_ranks(std::span<const GpuView> views, std::span<const int> ranks) {
  RanksUse use;
  Matches matches = match_collectives(views);
  const Clocks clocks = align_clocks(matches, views.size());
  for (uint32_t r = 0; r < views.size(); ++r) {
    const std::vector<Activity>& all = views[r].activities;
    int64_t end = 0;
    for (const Activity& a : all) end = std::max(end, a.end_ns);
    use.ranks.push_back({.rank = ranks[r],
                         .path = views[r].trace->path,
                         .component = clocks.component[r],
                         .offset_ns = clocks.offset_ns[r],
                         .drift_ppm = clocks.drift[r] * 1e6,
                         .residual_ns = clocks.residual_ns[r],
                         .span_ns = all.empty() ? 0 : end - all.front().start_ns});
  }
  use.num_components = clocks.num_components;
  use.kinds = std::move(matches.kinds);
  use.collectives = std::move(matches.collectives);
  use.members = std::move(matches.members);
  find_missing(views, use);
  note_steps(views, use);
  std::ranges::move(matches.notes, std::back_inserter(use.notes));
  measure(use, clocks);
  summarize_kinds(use);
  find_straggler(use);
  compare_compute(views, use);
  note_answers(use);
  return use;
}

std::vector<const Collective*> worst_collectives(const RanksUse& use, size_t most) {
  std::vector<const Collective*> worst;
  for (const Collective& c : use.collectives) worst.push_back(&c);
  const size_t kept = std::min(worst.size(), most);
  std::ranges::partial_sort(worst, worst.begin() + static_cast<ptrdiff_t>(kept), {},
                            [](const Collective* c) {
                              return std::tuple(-c->wait_ns, c->start_ns, c->kind, c->sequence);
                            });
  worst.resize(kept);
  return worst;
}

Json to_json(const RanksUse& use) {
  Json ranks = Json::array(), kinds = Json::array(), regions = Json::array();
  for (const RankUse& rank : use.ranks) ranks.push_back(rank_json(rank));
  for (const CollectiveKind& kind : use.kinds) kinds.push_back(kind_json(use, kind));
  for (const RegionCompute& region : use.regions) {
    Json compute = Json::array();
    for (const int64_t ns : region.compute_ns) compute.push_back(us(ns));
    regions.push_back({{"name", region.name},
                       {"median_us", us(region.median_ns)},
                       {"slowest_rank", use.ranks[region.slowest].rank},
                       {"ratio", region.ratio},
                       {"compute_us", std::move(compute)}});
  }
  Json straggler, slowest;
  if (use.straggler != kNone) {
    straggler = {{"rank", use.ranks[use.straggler].rank},
                 {"lead_us", us(use.straggler_lead_ns)},
                 {"stands_out", use.straggler_stands_out}};
  }
  if (use.slowest_compute != kNone) {
    const RankUse& rank = use.ranks[use.slowest_compute];
    slowest = {{"rank", rank.rank}, {"compute_ratio", rank.compute_ratio}};
  }
  return {{"world_size", use.world_size < 0 ? Json() : Json(use.world_size)},
          {"missing", use.missing},
          {"straggler", std::move(straggler)},
          {"slowest_compute", std::move(slowest)},
          {"ranks", std::move(ranks)},
          {"kinds", std::move(kinds)},
          {"worst", worst_json(use)},
          {"regions", std::move(regions)},
          {"notes", use.notes}};
}

}  // namespace hadal::trace
