#include "trace/rank_match.h"

#include <algorithm>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include <fmt/core.h>

#include "trace/comm_bandwidth.h"
#include "trace/saturate.h"

namespace hadal::trace {
namespace {

/// How an activity is recognised on other ranks.
enum class By : uint8_t { kSequence, kOrdinal, kBarrier, kTransfer };

struct Occurrence {
  uint32_t kind = 0, repeat = 0;
  int64_t sequence = 0;
  uint32_t rank = 0, activity = 0;
  uint64_t bytes = 0;
};

uint64_t bytes_of(const CollectiveInfo& info) {
  const uint64_t elements = std::max(info.in_elements, info.out_elements);
  const auto size = static_cast<uint64_t>(dtype_bytes(info.dtype));
  return size == 0 || elements > INT64_MAX / size ? 0 : elements * size;
}

bool is_point_to_point(std::string_view collective) {
  return collective.find("send") != collective.npos || collective.find("recv") != collective.npos;
}

class Matcher {
 public:
  explicit Matcher(std::span<const GpuView> views) : views_(views) {}

  Matches run() {
    for (uint32_t rank = 0; rank < views_.size(); ++rank) collect(rank);
    // Transfers by their order are the last resort.
    const auto strong = [&](const Occurrence& o) { return by_[o.kind] != By::kTransfer; };
    if (std::ranges::any_of(found_, strong)) {
      std::erase_if(found_, [&](const Occurrence& o) { return !strong(o); });
    } else if (!found_.empty()) {
      out_.notes.emplace_back(
          "no kernel carries the arguments of a collective and none is a barrier; transfers are "
          "matched by name and order, which is wrong where ranks run different ones");
    }
    number_repeats();
    gather();
    note_counts();
    return std::move(out_);
  }

 private:
  using Key = std::tuple<By, std::string, std::string, std::string>;

  uint32_t kind(const Key& key, const CollectiveInfo* info) {
    const auto [at, fresh] = kinds_.try_emplace(key, static_cast<uint32_t>(by_.size()));
    if (fresh) {
      CollectiveKind kind;
      kind.collective = info != nullptr ? info->collective : std::get<1>(key);
      kind.by_sequence = std::get<0>(key) == By::kSequence;
      if (info != nullptr) {
        kind.group = info->group;
        if (!info->group_description.empty() && info->group_description != info->group) {
          kind.group += fmt::format(" ({})", info->group_description);
        }
      }
      out_.kinds.push_back(std::move(kind));
      by_.push_back(std::get<0>(key));
      group_size_.push_back(info != nullptr ? info->group_size : 0);
    }
    return at->second;
  }

  void collect(uint32_t rank) {
    const GpuView& view = views_[rank];
    const Trace& trace = *view.trace;
    std::map<std::pair<By, uint32_t>, uint32_t> known;  // of this trace: by info or by name
    std::map<uint32_t, int64_t> ordinals;               // by kind
    for (uint32_t i = 0; i < view.activities.size(); ++i) {
      const Activity& a = view.activities[i];
      if (a.kind != Class::kCommunication) continue;
      const auto call =
          std::ranges::lower_bound(trace.collectives, a.row, {}, &CollectiveCall::row);
      const bool has_call = call != trace.collectives.end() && call->row == a.row;
      const CollectiveInfo* info = has_call ? &trace.collective_infos[call->info] : nullptr;
      if (info != nullptr && (is_point_to_point(info->collective) || info->group_size == 1)) {
        continue;
      }
      By by = a.role == Role::kBarrier ? By::kBarrier : By::kTransfer;
      if (info != nullptr) by = call->sequence >= 0 ? By::kSequence : By::kOrdinal;
      const uint32_t id = info != nullptr ? call->info : a.name;
      auto at = known.find({by, id});
      if (at == known.end()) {
        const Key key = info != nullptr ? Key{by, info->collective, info->group, info->group_ranks}
                                        : Key{by, std::string(view.name_of(a)), "", ""};
        at = known.emplace(std::pair(by, id), kind(key, info)).first;
      }
      const int64_t sequence = by == By::kSequence ? call->sequence : ordinals[at->second]++;
      found_.push_back({.kind = at->second,
                        .sequence = sequence,
                        .rank = rank,
                        .activity = i,
                        .bytes = info != nullptr ? bytes_of(*info) : 0});
    }
  }

  /// Several activities of a rank may have one sequence number (coalesced collectives): the k-th of
  /// one rank is the k-th of the others.
  void number_repeats() {
    std::ranges::sort(found_, {}, [](const Occurrence& o) {
      return std::tuple(o.kind, o.sequence, o.rank, o.activity);
    });
    for (size_t i = 1; i < found_.size(); ++i) {
      const Occurrence& before = found_[i - 1];
      Occurrence& o = found_[i];
      const bool same =
          before.kind == o.kind && before.sequence == o.sequence && before.rank == o.rank;
      o.repeat = same ? before.repeat + 1 : 0;
    }
    std::ranges::sort(found_, {}, [](const Occurrence& o) {
      return std::tuple(o.kind, o.sequence, o.repeat, o.rank);
    });
  }

  void gather() {
    uint64_t ambiguous = 0;
    for (size_t begin = 0, end = 0; begin < found_.size(); begin = end) {
      const Occurrence& first = found_[begin];
      while (end < found_.size() && found_[end].kind == first.kind &&
             found_[end].sequence == first.sequence && found_[end].repeat == first.repeat) {
        ++end;
      }
      const size_t size = end - begin;
      if (size < 2) continue;
      if (group_size_[first.kind] > 0 && size > group_size_[first.kind]) {
        ++ambiguous;
        continue;
      }
      Collective c{.kind = first.kind,
                   .sequence = first.sequence,
                   .begin = static_cast<uint32_t>(out_.members.size())};
      for (size_t i = begin; i < end; ++i) {
        out_.members.push_back(member(found_[i]));
        c.bytes = std::max(c.bytes, found_[i].bytes);
      }
      c.end = static_cast<uint32_t>(out_.members.size());
      CollectiveKind& kind = out_.kinds[c.kind];
      kind.num_ranks = std::max(kind.num_ranks, static_cast<int>(size));
      out_.collectives.push_back(c);
    }
    if (ambiguous > 0) {
      out_.notes.push_back(fmt::format(
          "{} collectives have more members than their group: several groups share a name and do "
          "not list their ranks; they are left out",
          ambiguous));
    }
  }

  CollectiveMember member(const Occurrence& o) const {
    const GpuView& view = views_[o.rank];
    const int64_t shift = subtract_saturated(view.trace->base_ns, views_[0].trace->base_ns);
    const Activity& a = view.activities[o.activity];
    return {.rank = o.rank,
            .activity = o.activity,
            .start_ns = add_saturated(a.start_ns, shift),
            .end_ns = add_saturated(a.end_ns, shift)};
  }

  /// Ranks with fewer or more of a kind that is matched by order: the order may be off.
  void note_counts() {
    std::map<std::pair<uint32_t, uint32_t>, uint64_t> counts;  // by (kind, rank)
    for (const Occurrence& o : found_) {
      if (by_[o.kind] != By::kSequence) ++counts[{o.kind, o.rank}];
    }
    for (auto at = counts.begin(); at != counts.end();) {
      const uint32_t kind = at->first.first;
      uint64_t least = at->second, most = at->second;
      for (; at != counts.end() && at->first.first == kind; ++at) {
        least = std::min(least, at->second);
        most = std::max(most, at->second);
      }
      if (least == most) continue;
      out_.notes.push_back(fmt::format(
          "ranks have {} to {} of one collective that is matched by its order; if one of them "
          "lacks the first ones, its waits are wrong",
          least, most));
      return;
    }
  }

  std::span<const GpuView> views_;
  std::map<Key, uint32_t> kinds_;
  std::vector<By> by_;                // by kind
  std::vector<uint64_t> group_size_;  // by kind; 0: unknown
  std::vector<Occurrence> found_;
  Matches out_;
};

}  // namespace

Matches match_collectives(std::span<const GpuView> views) {
  return Matcher(views).run();
}

}  // namespace hadal::trace
