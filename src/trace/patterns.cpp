#include "trace/patterns.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include <nlohmann/json.hpp>

#include "trace/kernel_groups.h"
#include "trace/kernels.h"
#include "trace/repeats.h"

namespace hadal::trace {
namespace {

constexpr uint32_t kSequenceMin = 2;
constexpr size_t kCandidatesMax = 64;  // looked at exactly, of each stream

/// Kernels of each stream in the order of their launches.
std::map<uint16_t, std::vector<uint32_t>> by_stream(const GpuView& view) {
  std::map<uint16_t, std::vector<uint32_t>> streams;
  for (const uint32_t i : launch_order(view)) {
    if (is_kernel(view, view.activities[i])) streams[view.activities[i].track].push_back(i);
  }
  return streams;
}

/// The repeats that may hold most time: by their number, if they did not overlap, times the
/// duration of one of them.
std::vector<Repeat> candidates(const RepeatIndex& index, const std::vector<int64_t>& until) {
  const auto estimate = [&](const Repeat& r) {
    const uint32_t at = index.suffixes[r.begin];
    const uint64_t fit = std::min<uint64_t>(r.end - r.begin, index.suffixes.size() / r.length);
    return static_cast<double>(fit) * static_cast<double>(until[at + r.length] - until[at]);
  };
  std::vector<std::pair<double, size_t>> order;
  for (size_t i = 0; i < index.repeats.size(); ++i)
    order.emplace_back(-estimate(index.repeats[i]), i);
  const size_t kept = std::min(order.size(), kCandidatesMax);
  std::ranges::partial_sort(order, order.begin() + static_cast<std::ptrdiff_t>(kept));
  std::vector<Repeat> best;
  for (size_t i = 0; i < kept; ++i) best.push_back(index.repeats[order[i].second]);
  return best;
}

struct Found {
  std::vector<uint32_t> at;  // positions in the stream
  uint32_t length = 0;
  int64_t total_ns = 0;
};

/// Is what `f` covers mostly covered by `covered` (0/1 prefix sums over the stream), as often?
bool inside(const Found& f, const std::vector<uint32_t>& covered) {
  uint64_t common = 0;
  for (const uint32_t at : f.at) common += covered[at + f.length] - covered[at];
  return static_cast<double>(common) >=
         0.9 * static_cast<double>(f.at.size()) * static_cast<double>(f.length);
}

void add_sequences(const GpuView& view, uint16_t track, const std::vector<uint32_t>& stream,
                   size_t sequences_max, std::vector<Sequence>& sequences) {
  std::vector<uint32_t> names;
  std::vector<int64_t> until{0};  // total of the first i kernels
  for (const uint32_t i : stream) {
    names.push_back(view.activities[i].name);
    until.push_back(until.back() + view.activities[i].duration_ns());
  }
  const RepeatIndex index = find_repeats(names, kSequenceMin);
  std::vector<Found> found;
  for (const Repeat& repeat : candidates(index, until)) {
    Found f{.at = occurrences(index, repeat), .length = repeat.length};
    if (f.at.size() < 2) continue;
    for (const uint32_t at : f.at) f.total_ns += until[at + f.length] - until[at];
    found.push_back(std::move(f));
  }
  std::ranges::sort(found, {},
                    [](const Found& f) { return std::tuple(-f.total_ns, f.length, f.at.front()); });
  struct Chosen {
    size_t count;
    std::vector<uint32_t> covered;
  };
  std::vector<Chosen> chosen;
  for (const Found& f : found) {
    if (chosen.size() == sequences_max) break;
    const bool known = std::ranges::any_of(
        chosen, [&](const Chosen& c) { return f.at.size() < 2 * c.count && inside(f, c.covered); });
    if (known) continue;
    std::vector<uint32_t> covered(stream.size() + 1);
    for (const uint32_t at : f.at) {
      for (uint32_t k = 0; k < f.length; ++k) covered[at + k + 1] = 1;
    }
    for (size_t i = 1; i < covered.size(); ++i) covered[i] += covered[i - 1];
    chosen.push_back({f.at.size(), std::move(covered)});
    Sequence s{.names = {names.begin() + f.at.front(), names.begin() + f.at.front() + f.length},
               .track = track,
               .count = f.at.size(),
               .total_ns = f.total_ns,
               .first = {}};
    for (const uint32_t at : f.at) s.first.push_back(stream[at]);
    sequences.push_back(std::move(s));
  }
}

/// The forward region's name for a backward one: "attn(F)" for "attn(B)". Empty: it is none.
std::string forward_name(std::string_view backward) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kPairs = {
      {{"(B)", "(F)"}, {"backward", "forward"}, {"Backward", "Forward"}, {"bwd", "fwd"}}};
  for (const auto& [from, to] : kPairs) {
    const size_t at = backward.find(from);
    if (at == std::string_view::npos) continue;
    return std::string(backward.substr(0, at)).append(to).append(backward.substr(at + from.size()));
  }
  return {};
}

/// Launches as seen by recompute: kernels only, with their keys.
struct Run {
  std::vector<uint32_t> activities;
  std::vector<KernelKey> keys;
};
Run run_of(const GpuView& view, const std::vector<uint32_t>& launched) {
  Run run;
  for (const uint32_t i : launched) {
    if (!is_kernel(view, view.activities[i])) continue;
    run.activities.push_back(i);
    run.keys.push_back(key_of(view, view.activities[i]));
  }
  return run;
}

using Gram = std::array<KernelKey, kRecomputeRunMin>;
Gram gram_at(const Run& run, size_t at) {
  Gram gram;
  std::copy_n(run.keys.begin() + static_cast<std::ptrdiff_t>(at), gram.size(), gram.begin());
  return gram;
}

/// All grams of the forward regions of each name.
std::map<uint32_t, std::vector<Gram>> grams_by_name(
    const GpuView& view, const std::vector<std::vector<uint32_t>>& launched) {
  std::map<uint32_t, std::vector<Gram>> grams;
  for (size_t r = 0; r < launched.size(); ++r) {
    const Run run = run_of(view, launched[r]);
    auto& list = grams[view.regions[r].name];
    for (size_t at = 0; at + kRecomputeRunMin <= run.keys.size(); ++at) {
      list.push_back(gram_at(run, at));
    }
  }
  for (auto& [name, list] : grams) {
    std::ranges::sort(list);
    list.erase(std::unique(list.begin(), list.end()), list.end());
  }
  return grams;
}

std::vector<Recompute> find_recompute(const GpuView& view) {
  const auto launched = launched_in_regions(view);
  const auto grams = grams_by_name(view, launched);
  std::map<std::string_view, uint32_t> name_of;
  for (const Region& region : view.regions) name_of[view.trace->names[region.name]] = region.name;
  std::vector<Recompute> found;
  for (uint32_t r = 0; r < launched.size(); ++r) {
    const auto forward = name_of.find(forward_name(view.trace->names[view.regions[r].name]));
    if (forward == name_of.end() || forward->second == view.regions[r].name) continue;
    const std::vector<Gram>& known = grams.at(forward->second);
    const Run run = run_of(view, launched[r]);
    std::vector<bool> again(run.keys.size());
    for (size_t at = 0; at + kRecomputeRunMin <= run.keys.size(); ++at) {
      if (!std::ranges::binary_search(known, gram_at(run, at))) continue;
      for (size_t k = 0; k < kRecomputeRunMin; ++k) again[at + k] = true;
    }
    Recompute recompute{.forward_name = forward->second,
                        .backward_name = view.regions[r].name,
                        .backward = r,
                        .activities = {}};
    for (size_t i = 0; i < again.size(); ++i) {
      if (!again[i]) continue;
      recompute.activities.push_back(run.activities[i]);
      recompute.total_ns += view.activities[run.activities[i]].duration_ns();
    }
    if (!recompute.activities.empty()) found.push_back(std::move(recompute));
  }
  return found;
}

/// Kernels that bring work of their own, which fusing does not remove.
bool heavy(std::string_view family) {
  return family == "gemm" || family == "attention" || family == "convolution";
}

class Chains {
 public:
  explicit Chains(const GpuView& view) : view_(view), heavy_(view.trace->names.size(), -1) {}

  std::vector<FusionChain> find(const std::map<uint16_t, std::vector<uint32_t>>& streams) {
    for (const auto& [track, stream] : streams) {
      for (const uint32_t i : stream) {
        const Activity& a = view_.activities[i];
        if (!fusible(a)) {
          close();
          continue;
        }
        if (!open_.empty() && view_.activities[open_.back()].region != a.region) close();
        open_.push_back(i);
      }
      close();
    }
    std::ranges::sort(found_, {}, [](const FusionChain& c) {
      return std::pair(-c.ceiling_ns, c.activities.front());
    });
    return std::move(found_);
  }

 private:
  bool fusible(const Activity& a) {
    if (a.kind != Class::kCompute || a.role != Role::kNone || a.duration_ns() >= kShortKernelNs) {
      return false;
    }
    int8_t& is = heavy_[a.name];
    if (is < 0) is = static_cast<int8_t>(heavy(family(view_.name_of(a))));
    return is == 0;
  }
  void close() {
    if (open_.size() >= kFusionChainMin) {
      FusionChain chain;
      int64_t start = INT64_MAX, end = INT64_MIN, longest = 0;
      for (const uint32_t i : open_) {
        const Activity& a = view_.activities[i];
        start = std::min(start, a.start_ns);
        end = std::max(end, a.end_ns);
        longest = std::max(longest, a.duration_ns());
        chain.kernels_ns += a.duration_ns();
      }
      chain.span_ns = end - start;
      chain.ceiling_ns = chain.span_ns - longest;
      chain.activities = std::move(open_);
      found_.push_back(std::move(chain));
    }
    open_.clear();
  }

  const GpuView& view_;
  std::vector<int8_t> heavy_;  // by name; -1: not looked at
  std::vector<uint32_t> open_;
  std::vector<FusionChain> found_;
};

std::vector<GroupedRows> grouped_rows_of(const GpuView& view, const Shapes& shapes) {
  std::map<uint32_t, GroupedRows> by_name;
  for (const Shape& shape : shapes.list) {
    const uint32_t region = view.activities[shape.activity].region;
    if (shape.work != Work::kGemm || !shape.grouped || shape.m <= 0 || region == kNone) continue;
    GroupedRows& g = by_name[view.regions[region].name];
    const auto index = static_cast<size_t>(view.regions[region].index);
    if (g.rows.size() <= index) g.rows.resize(index + 1);
    g.rows[index] = std::max(g.rows[index], shape.m);
  }
  std::vector<GroupedRows> list;
  for (auto& [name, g] : by_name) {
    g.region_name = name;
    double sum = 0;
    int known = 0;
    for (const int64_t rows : g.rows) {
      if (rows == 0) continue;
      g.least = known == 0 ? rows : std::min(g.least, rows);
      g.most = std::max(g.most, rows);
      sum += static_cast<double>(rows);
      ++known;
    }
    g.mean = sum / known;  // at least one, or the entry would not be here
    list.push_back(std::move(g));
  }
  return list;
}

Json sequence_json(const GpuView& view, const Sequence& s) {
  constexpr size_t kNamesMax = 64;
  Json names = Json::array();
  for (size_t i = 0; i < std::min(s.names.size(), kNamesMax); ++i) {
    names.push_back(short_name(view.trace->names[s.names[i]]));
  }
  return {{"stream", view.trace->tracks[s.track].stream},
          {"length", s.names.size()},
          {"count", s.count},
          {"total_us", us(s.total_ns)},
          {"kernels", std::move(names)}};
}

Json chain_json(const GpuView& view, const FusionChain& chain) {
  const Activity& first = view.activities[chain.activities.front()];
  Json json{{"kernels", chain.activities.size()},
            {"start_us", us(first.start_ns)},
            {"kernels_us", us(chain.kernels_ns)},
            {"span_us", us(chain.span_ns)},
            {"ceiling_us", us(chain.ceiling_ns)}};
  if (first.region != kNone) {
    json["region"] = view.trace->names[view.regions[first.region].name];
    json["index"] = view.regions[first.region].index;
  }
  return json;
}

}  // namespace

Patterns patterns(const GpuView& view, const Shapes& shapes, size_t sequences_max) {
  Patterns p;
  const auto streams = by_stream(view);
  for (const auto& [track, stream] : streams) {
    add_sequences(view, track, stream, sequences_max, p.sequences);
  }
  std::ranges::sort(p.sequences, {}, [](const Sequence& s) {
    return std::tuple(-s.total_ns, s.track, s.names.size(), s.first.front());
  });
  if (p.sequences.size() > sequences_max) p.sequences.resize(sequences_max);
  p.recompute = find_recompute(view);
  p.chains = Chains(view).find(streams);
  for (const Activity& a : view.activities) {
    if (!is_kernel(view, a) || a.duration_ns() >= kShortKernelNs) continue;
    ++p.short_kernels;
    p.short_kernels_ns += a.duration_ns();
  }
  p.grouped_rows = grouped_rows_of(view, shapes);
  return p;
}

Json to_json(const GpuView& view, const Patterns& p, size_t chains_max) {
  Json sequences = Json::array(), recompute = Json::array(), chains = Json::array(),
       rows = Json::array();
  for (const Sequence& s : p.sequences) sequences.push_back(sequence_json(view, s));
  for (const Recompute& r : p.recompute) {
    recompute.push_back({{"region", view.trace->names[r.backward_name]},
                         {"index", view.regions[r.backward].index},
                         {"forward", view.trace->names[r.forward_name]},
                         {"kernels", r.activities.size()},
                         {"total_us", us(r.total_ns)}});
  }
  for (size_t i = 0; i < std::min(p.chains.size(), chains_max); ++i) {
    chains.push_back(chain_json(view, p.chains[i]));
  }
  for (const GroupedRows& g : p.grouped_rows) {
    rows.push_back({{"region", view.trace->names[g.region_name]},
                    {"rows", g.rows},
                    {"least", g.least},
                    {"most", g.most},
                    {"mean", g.mean}});
  }
  return {{"sequences", std::move(sequences)},  {"recompute", std::move(recompute)},
          {"short_kernels", p.short_kernels},   {"short_kernels_us", us(p.short_kernels_ns)},
          {"fusion_chains", std::move(chains)}, {"fusion_chains_found", p.chains.size()},
          {"grouped_rows", std::move(rows)}};
}

}  // namespace hadal::trace
