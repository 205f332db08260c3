#include "kv/history.h"

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <tuple>

#include <fmt/core.h>

#include "base/check.h"

namespace hadal::kv {
namespace {

constexpr size_t kNobody = SIZE_MAX;

enum class Why : uint8_t { kRead, kOverwrote, kReadBefore, kTime, kClock };

struct Edge {
  size_t to;
  Why why;
  const std::string* key = nullptr;
};

/// One of the values that a key had, in order.
struct Held {
  Stamp stamp = {};
  bool at = true;  // false: somewhere before that stamp
  size_t writer = kNobody;
  std::optional<std::string> value = {};
  auto order() const { return std::tuple(stamp, at); }
};

struct Key {
  std::vector<Held> held;                              // the first is the absence at the beginning
  std::map<std::string, size_t, std::less<>> writers;  // of values: transactions, of any outcome
};

class Graph {
 public:
  explicit Graph(const std::vector<RecordedTransaction>& transactions) : all_(transactions) {}

  std::optional<std::string> anomaly() {
    collect_keys();
    if (auto found = find_members()) return found;
    order_values();
    edges_.resize(all_.size());
    add_value_edges();
    add_time_edges();
    const std::vector<size_t> cycle = shortest_cycle();
    return cycle.empty() ? std::nullopt : std::optional(tell(cycle));
  }

 private:
  using Value = std::optional<std::string>;

  /// Calls take(key, value) for every read of a transaction, those of ranges included.
  template <typename Take>
  void reads_of(const RecordedTransaction& t, Take&& take) const {
    for (const auto& [key, value] : t.reads) take(keys_.find(key), value);
    for (const RecordedRange& range : t.ranges) {
      auto row = range.rows.begin();
      const auto last = keys_.lower_bound(range.range.end);
      for (auto it = keys_.lower_bound(range.range.begin); it != last; ++it) {
        const bool here = row != range.rows.end() && row->key == it->first;
        take(it, here ? Value(row->value) : std::nullopt);
        if (here) ++row;
      }
    }
  }

  std::string name(size_t i) const {
    const RecordedTransaction& t = all_[i];
    std::string text = fmt::format("T{} ({}", i, t.client);
    if (t.stamp && t.stamp->order == kReader)
      text += fmt::format(", at {}", t.stamp->version);
    else if (t.stamp)
      text += fmt::format(", stamp {}.{}", t.stamp->version, t.stamp->order);
    if (t.outcome == Outcome::kUnknown) text += ", outcome unknown";
    return text + ")";
  }

  static std::string told(const Value& value) { return value ? shown(*value) : "nothing"; }

  void collect_keys() {
    for (size_t i = 0; i < all_.size(); ++i) {
      const RecordedTransaction& t = all_[i];
      for (const auto& [key, value] : t.reads) keys_[key];
      for (const RecordedRange& range : t.ranges) {
        for (const Row& row : range.rows) keys_[row.key];
      }
      for (const auto& [key, value] : t.writes) {
        if (value) CHECK(keys_[key].writers.emplace(*value, i).second, "values must be unique");
        keys_[key];
      }
    }
  }

  /// Those that committed, and those of unknown outcome that one of them saw.
  std::optional<std::string> find_members() {
    member_.assign(all_.size(), false);
    std::deque<size_t> to_look_at;
    const auto join = [&](size_t i) {
      if (member_[i]) return;
      member_[i] = true;
      to_look_at.push_back(i);
    };
    for (size_t i = 0; i < all_.size(); ++i) {
      if (all_[i].outcome == Outcome::kCommitted) CHECK(all_[i].stamp, "committed, but no stamp");
      if (all_[i].outcome != Outcome::kAborted && all_[i].stamp) join(i);
    }
    std::optional<std::string> found;
    while (!to_look_at.empty() && !found) {
      const size_t reader = to_look_at.front();
      to_look_at.pop_front();
      reads_of(all_[reader], [&](auto key, const Value& value) {
        if (!value) return;
        const auto writer = key->second.writers.find(*value);
        if (writer == key->second.writers.end()) {
          found = fmt::format("{} read {} = {}, which nobody ever wrote", name(reader),
                              shown(key->first), shown(*value));
        } else if (all_[writer->second].outcome == Outcome::kAborted) {
          found = fmt::format("{} read {} = {}, which {} wrote, but did not commit", name(reader),
                              shown(key->first), shown(*value), name(writer->second));
        } else {
          join(writer->second);
        }
      });
    }
    return found;
  }

  /// Writers without a stamp stand before the first that read their value; what nobody read of
  /// them is left out, because it forbids nothing.
  void order_values() {
    std::map<std::pair<const std::string*, std::string>, Stamp> first_readers;
    for (size_t i = 0; i < all_.size(); ++i) {
      if (!member_[i] || !all_[i].stamp) continue;
      reads_of(all_[i], [&](auto key, const Value& value) {
        if (!value || all_[key->second.writers.at(*value)].stamp) return;
        const auto [it, added] = first_readers.try_emplace({&key->first, *value}, *all_[i].stamp);
        it->second = std::min(it->second, *all_[i].stamp);
      });
    }
    for (auto& [key, k] : keys_) k.held.emplace_back();
    for (size_t i = 0; i < all_.size(); ++i) {
      if (!member_[i]) continue;
      const RecordedTransaction& t = all_[i];
      for (const auto& [key, value] : t.writes) {
        const auto it = keys_.find(key);
        if (t.stamp) {
          it->second.held.push_back({*t.stamp, true, i, value});
        } else if (value && first_readers.contains({&it->first, *value})) {
          it->second.held.push_back({first_readers[{&it->first, *value}], false, i, value});
        }
      }
      for (const KeyRange& range : t.clears) add_clears(i, range);
    }
    for (auto& [key, k] : keys_) {
      std::stable_sort(k.held.begin(), k.held.end(),
                       [](const Held& a, const Held& b) { return a.order() < b.order(); });
    }
  }

  void add_clears(size_t i, const KeyRange& range) {
    const RecordedTransaction& t = all_[i];
    if (!t.stamp) return;
    const auto last = keys_.lower_bound(range.end);
    for (auto it = keys_.lower_bound(range.begin); it != last; ++it) {
      const bool written = std::ranges::any_of(
          t.writes, [&](const auto& write) { return write.first == it->first; });
      if (!written) it->second.held.push_back({*t.stamp, true, i, std::nullopt});
    }
  }

  /// Which of the key's values a transaction read; kNobody: that cannot be known.
  size_t held_by(const Key& key, size_t reader, const Value& value) const {
    const std::optional<Stamp>& stamp = all_[reader].stamp;
    size_t best = kNobody;
    for (size_t i = 0; i < key.held.size(); ++i) {
      if (key.held[i].value != value) continue;
      if (value || best == kNobody) best = i;
      if (!value && stamp && key.held[i].stamp < *stamp) best = i;
      if (!value && !stamp && i > 0) return kNobody;
    }
    return best;
  }

  void add_edge(size_t from, size_t to, Why why, const std::string* key) {
    if (from != kNobody && from != to) edges_[from].push_back({to, why, key});
  }

  void add_value_edges() {
    for (const auto& [key, k] : keys_) {
      for (size_t i = 2; i < k.held.size(); ++i) {
        add_edge(k.held[i - 1].writer, k.held[i].writer, Why::kOverwrote, &key);
      }
    }
    for (size_t reader = 0; reader < all_.size(); ++reader) {
      if (!member_[reader]) continue;
      reads_of(all_[reader], [&](auto key, const Value& value) {
        const Key& k = key->second;
        const size_t i = held_by(k, reader, value);
        if (i == kNobody) return;
        add_edge(k.held[i].writer, reader, Why::kRead, &key->first);
        if (i + 1 == k.held.size()) return;
        add_edge(reader, k.held[i + 1].writer, Why::kReadBefore, &key->first);
      });
    }
  }

  /// A node per end, in order, each before the next: T -> its end -> ... -> whoever began later.
  void add_time_edges() {
    std::vector<std::pair<int64_t, size_t>> ends;
    for (size_t i = 0; i < all_.size(); ++i) {
      if (all_[i].outcome == Outcome::kCommitted) ends.emplace_back(all_[i].end_ns, i);
    }
    std::ranges::sort(ends);
    edges_.resize(all_.size() + ends.size());
    for (size_t i = 0; i < ends.size(); ++i) {
      edges_[ends[i].second].push_back({all_.size() + i, Why::kTime});
      if (i > 0) edges_[all_.size() + i - 1].push_back({all_.size() + i, Why::kClock});
    }
    for (size_t i = 0; i < all_.size(); ++i) {
      if (!member_[i]) continue;
      const auto later = std::ranges::lower_bound(ends, std::pair(all_[i].begin_ns, size_t{0}));
      if (later == ends.begin()) continue;
      edges_[all_.size() + (later - ends.begin()) - 1].push_back({i, Why::kClock});
    }
  }

  /// Nodes from which no way leads on are on no cycle, and so on: what is left has all cycles.
  std::vector<bool> without_ends() const {
    std::vector<size_t> out(edges_.size());
    std::vector<std::vector<size_t>> back(edges_.size());
    for (size_t i = 0; i < edges_.size(); ++i) {
      out[i] = edges_[i].size();
      for (const Edge& edge : edges_[i]) back[edge.to].push_back(i);
    }
    std::vector<bool> left(edges_.size(), true);
    std::vector<size_t> gone;
    for (size_t i = 0; i < out.size(); ++i) {
      if (out[i] == 0) gone.push_back(i);
    }
    while (!gone.empty()) {
      const size_t i = gone.back();
      gone.pop_back();
      left[i] = false;
      for (const size_t from : back[i]) {
        if (--out[from] == 0) gone.push_back(from);
      }
    }
    return left;
  }

  /// A way from the transaction back to itself over the fewest transactions; empty: there is none.
  std::vector<size_t> cycle_through(size_t start, const std::vector<bool>& left) const {
    std::vector<size_t> from(edges_.size(), kNobody);
    std::deque<size_t> next{start};
    while (!next.empty()) {
      const size_t i = next.front();
      next.pop_front();
      for (const Edge& edge : edges_[i]) {
        if (!left[edge.to] || from[edge.to] != kNobody) continue;
        from[edge.to] = i;
        if (edge.to == start) {
          std::vector<size_t> cycle{start};
          for (size_t at = i; at != start; at = from[at]) cycle.push_back(at);
          std::ranges::reverse(cycle);  // ends with `start`
          return cycle;
        }
        if (edge.to >= all_.size())
          next.push_front(edge.to);  // time costs nothing
        else
          next.push_back(edge.to);
      }
    }
    return {};
  }

  std::vector<size_t> shortest_cycle() const {
    constexpr int kCyclesLookedAt = 32;
    const std::vector<bool> left = without_ends();
    const auto transactions = [&](const std::vector<size_t>& cycle) {
      return std::ranges::count_if(cycle, [&](size_t i) { return i < all_.size(); });
    };
    std::vector<size_t> best;
    for (size_t i = 0, looked_at = 0; i < all_.size() && looked_at < kCyclesLookedAt; ++i) {
      if (!left[i]) continue;
      std::vector<size_t> cycle = cycle_through(i, left);
      if (cycle.empty()) continue;
      ++looked_at;
      if (best.empty() || transactions(cycle) < transactions(best)) best = std::move(cycle);
    }
    return best;
  }

  std::string tell_edge(size_t from, const Edge& edge) const {
    const std::string a = name(from), b = name(edge.to), key = edge.key ? shown(*edge.key) : "";
    switch (edge.why) {
      case Why::kRead: return fmt::format("{} read what {} wrote to {}", b, a, key);
      case Why::kOverwrote: return fmt::format("{} wrote {} after {} had", b, key, a);
      case Why::kReadBefore: {
        std::string value;
        reads_of(all_[from], [&](auto it, const Value& read) {
          if (it->first == *edge.key) value = told(read);
        });
        return fmt::format("{} read {} = {} and not yet what {} wrote", a, key, value, b);
      }
      default: return fmt::format("{} had ended before {} began", a, b);
    }
  }

  /// One line per transaction of the cycle, which ends where it began.
  std::string tell(const std::vector<size_t>& cycle) const {
    std::string text =
        "these transactions have no serial order; each must stand before the next:\n";
    size_t from = cycle.back();
    bool over_time = false;
    for (size_t i = 0, before = cycle.back(); i < cycle.size(); before = cycle[i], ++i) {
      const size_t to = cycle[i];
      over_time = over_time || to >= all_.size();
      if (to >= all_.size()) continue;
      const auto edge = std::ranges::find(edges_[before], to, &Edge::to);
      text += "  " + tell_edge(from, over_time ? Edge{to, Why::kTime} : *edge) + "\n";
      over_time = false;
      from = to;
    }
    return text;
  }

  const std::vector<RecordedTransaction>& all_;
  std::map<std::string, Key, std::less<>> keys_;
  std::vector<bool> member_;
  std::vector<std::vector<Edge>> edges_;
};

}  // namespace

size_t History::add(RecordedTransaction transaction) {
  transactions_.push_back(std::move(transaction));
  return transactions_.size() - 1;
}

std::optional<std::string> History::anomaly() const {
  return Graph(transactions_).anomaly();
}

}  // namespace hadal::kv
