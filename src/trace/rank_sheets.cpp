#include "trace/rank_sheets.h"

#include <algorithm>
#include <span>
#include <tuple>

#include <fmt/core.h>

#include "trace/kernels.h"

namespace hadal::trace {
namespace {

Cell percent(uint64_t part, uint64_t whole) {
  return whole > 0 ? cell(100.0 * static_cast<double>(part) / static_cast<double>(whole)) : Cell();
}

/// A kernel's name shortened; the name of a collective as it is.
std::string shown_name(const CollectiveKind& kind) {
  return kind.group.empty() ? short_name(kind.collective) : kind.collective;
}

std::string text_us(int64_t ns) {
  return shown(cell(ns), Unit::kTime) + " us";
}

std::string counted(uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

}  // namespace

std::vector<std::string> rank_sentences(const RanksUse& use) {
  int64_t residual = 0;
  for (const RankUse& rank : use.ranks) residual = std::max(residual, rank.residual_ns);
  std::vector<std::string> sentences = {
      fmt::format("{}, {} matched; clocks {}", counted(use.ranks.size(), "rank"),
                  counted(use.collectives.size(), "collective"),
                  use.collectives.empty() ? "taken as they are" : "agree to " + text_us(residual))};
  if (use.straggler != kNone) {
    const RankUse& late = use.ranks[use.straggler];
    sentences.push_back(use.straggler_stands_out
                            ? fmt::format("late: rank {}: it waited {} less than the mean of the "
                                          "others, and was last at {} "
                                          "of {}",
                                          late.rank, text_us(use.straggler_lead_ns), late.last,
                                          counted(late.collectives, "collective"))
                            : "late: no rank stands out from the uncertainty of the clocks");
  }
  if (use.slowest_compute != kNone) {
    const RankUse& slow = use.ranks[use.slowest_compute];
    sentences.push_back(fmt::format("slowest to compute: rank {}: {:.3f} times the median rank",
                                    slow.rank, slow.compute_ratio));
  }
  return sentences;
}

Sheet ranks_sheet(const RanksUse& use) {
  Sheet sheet{.id = "ranks",
              .title = "Ranks",
              .columns = {{"rank", "rank", Unit::kCount},
                          {"offset_us", "clock us", Unit::kTime},
                          {"drift_ppm", "drift ppm", Unit::kNumber},
                          {"residual_us", "residual us", Unit::kTime},
                          {"collectives", "collectives", Unit::kCount},
                          {"last_percent", "last", Unit::kPercent},
                          {"wait_us", "waits us", Unit::kTime},
                          {"span_us", "span us", Unit::kTime},
                          {"compute_us", "compute us", Unit::kTime},
                          {"compute_ratio", "of median", Unit::kNumber},
                          {"component", "component", Unit::kCount, false},
                          {"trace", "trace", Unit::kText, false}}};
  std::vector<const RankUse*> ranks;
  for (const RankUse& rank : use.ranks) ranks.push_back(&rank);
  std::ranges::sort(ranks, {}, &RankUse::rank);
  for (const RankUse* r : ranks) {
    sheet.add({cell(r->rank), cell(r->offset_ns), cell(r->drift_ppm), cell(r->residual_ns),
               cell(r->collectives), percent(r->last, r->collectives), cell(r->wait_ns),
               cell(r->span_ns), cell(r->compute_ns), cell(r->compute_ratio), cell(r->component),
               r->path});
  }
  return sheet;
}

Sheet collective_kinds_sheet(const RanksUse& use) {
  Sheet sheet{.id = "collectives",
              .title = "Collectives by the waits in them",
              .columns = {{"collective", "collective", Unit::kText},
                          {"group", "group", Unit::kText},
                          {"ranks", "ranks", Unit::kCount},
                          {"count", "count", Unit::kCount},
                          {"wait_us", "waits us", Unit::kTime},
                          {"start_skew_us", "start skew us", Unit::kTime},
                          {"end_skew_us", "end skew us", Unit::kTime},
                          {"latency_us", "latency us", Unit::kTime},
                          {"busbw_gb_s", "bus GB/s", Unit::kNumber},
                          {"last_rank", "last", Unit::kCount},
                          {"last_percent", "how often", Unit::kPercent},
                          {"algbw_gb_s", "GB/s", Unit::kNumber, false},
                          {"bytes", "bytes", Unit::kCount, false},
                          {"full_name", "full name", Unit::kText, false}},
              .notes = {"skews and latency are medians; latency is that of the last to arrive"}};
  for (const CollectiveKind& kind : use.kinds) {
    const bool sized = kind.bytes > 0;
    sheet.add({shown_name(kind), kind.group, cell(kind.num_ranks), cell(kind.count),
               cell(kind.wait_ns), cell(kind.start_skew.median_ns), cell(kind.end_skew.median_ns),
               cell(kind.latency.median_ns), sized ? cell(kind.busbw_gb_s) : Cell(),
               cell(use.ranks[kind.last].rank), percent(kind.last_count, kind.count),
               sized ? cell(kind.algbw_gb_s) : Cell(), sized ? cell(kind.bytes) : Cell(),
               kind.collective});
  }
  return sheet;
}

Sheet worst_collectives_sheet(const RanksUse& use, size_t most) {
  Sheet sheet{.id = "worst_collectives",
              .title = "Single collectives with the longest waits",
              .columns = {{"start_us", "start us", Unit::kTime},
                          {"collective", "collective", Unit::kText},
                          {"sequence", "number", Unit::kCount},
                          {"wait_us", "waits us", Unit::kTime},
                          {"start_skew_us", "start skew us", Unit::kTime},
                          {"latency_us", "latency us", Unit::kTime},
                          {"last_rank", "last", Unit::kCount}}};
  for (const Collective* c : worst_collectives(use, most)) {
    sheet.add({cell(c->start_ns), shown_name(use.kinds[c->kind]), cell(c->sequence),
               cell(c->wait_ns), cell(c->start_skew_ns), cell(c->latency_ns),
               cell(use.ranks[c->last].rank)});
  }
  return sheet;
}

Sheet region_compute_sheet(const RanksUse& use) {
  Sheet sheet{.id = "region_compute",
              .title = "Computation by region: the slowest rank against the median one",
              .columns = {{"region", "region", Unit::kText},
                          {"median_us", "median us", Unit::kTime},
                          {"slowest_us", "slowest us", Unit::kTime},
                          {"ratio", "of median", Unit::kNumber},
                          {"slowest_rank", "rank", Unit::kCount}}};
  std::vector<const RegionCompute*> regions;
  for (const RegionCompute& region : use.regions) regions.push_back(&region);
  const auto excess = [](const RegionCompute* r) {
    return r->compute_ns[r->slowest] - r->median_ns;
  };
  std::ranges::sort(regions, [&](const RegionCompute* x, const RegionCompute* y) {
    return excess(x) != excess(y) ? excess(x) > excess(y) : x->name < y->name;
  });
  for (const RegionCompute* r : regions) {
    sheet.add({r->name, cell(r->median_ns), cell(r->compute_ns[r->slowest]), cell(r->ratio),
               cell(use.ranks[r->slowest].rank)});
  }
  return sheet;
}

Sheet events_sheet(const Found& found) {
  Sheet sheet{.id = "events",
              .title = "Events",
              .columns = {{"id", "id", Unit::kText},
                          {"category", "category", Unit::kText},
                          {"name", "name", Unit::kText},
                          {"start_us", "start us", Unit::kTime},
                          {"duration_us", "duration us", Unit::kTime},
                          {"stream", "stream", Unit::kCount},
                          {"region", "region", Unit::kText},
                          {"delay_us", "launch delay us", Unit::kTime},
                          {"class", "class", Unit::kText, false},
                          {"role", "role", Unit::kText, false},
                          {"track", "track", Unit::kText, false},
                          {"correlation", "correlation", Unit::kCount, false},
                          {"full_name", "full name", Unit::kText, false}}};
  for (const FoundEvent& f : found.events) {
    const Trace& trace = *f.view->trace;
    const Events& e = trace.events;
    const Track& track = trace.tracks[e.track[f.row]];
    const std::string_view full = trace.name_of(f.row);
    const Activity* a = f.activity == kNone ? nullptr : &f.view->activities[f.activity];
    const bool kernel = e.category[f.row] == Category::kKernel;
    sheet.add(
        {f.id, cell(name(e.category[f.row])), kernel ? short_name(full) : std::string(full),
         cell(e.start_ns[f.row]), cell(e.duration_ns[f.row]),
         track.stream >= 0 ? cell(track.stream) : Cell(),
         f.region.empty() ? Cell() : Cell(f.region), f.delay_ns >= 0 ? cell(f.delay_ns) : Cell(),
         a != nullptr ? cell(name(a->kind)) : Cell(), a != nullptr ? cell(name(a->role)) : Cell(),
         cell(track_name(track)),
         e.correlation[f.row] != 0 ? cell(uint64_t{e.correlation[f.row]}) : Cell(), cell(full)},
        {e.start_ns[f.row], e.end_ns(f.row)});
  }
  return sheet;
}

}  // namespace hadal::trace
