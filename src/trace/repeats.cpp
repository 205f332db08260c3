#include "trace/repeats.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace hadal::trace {
namespace {

/// Ranks of the elements, dense and in their order.
std::vector<uint32_t> dense(std::span<const uint32_t> sequence) {
  std::vector<uint32_t> values(sequence.begin(), sequence.end());
  std::ranges::sort(values);
  values.erase(std::unique(values.begin(), values.end()), values.end());
  std::vector<uint32_t> ranks;
  ranks.reserve(sequence.size());
  for (const uint32_t value : sequence) {
    ranks.push_back(
        static_cast<uint32_t>(std::ranges::lower_bound(values, value) - values.begin()));
  }
  return ranks;
}

std::vector<uint32_t> suffix_array(std::span<const uint32_t> sequence) {
  const auto n = static_cast<uint32_t>(sequence.size());
  std::vector<uint32_t> rank = dense(sequence), suffixes(n);
  std::iota(suffixes.begin(), suffixes.end(), 0U);
  // Sorted as (rank of the first half, rank of the second half + 1, suffix) in one integer pair.
  std::vector<std::pair<uint64_t, uint32_t>> keys(n);
  for (uint64_t width = 1;; width *= 2) {
    for (uint32_t i = 0; i < n; ++i) {
      const uint64_t second = i + width < n ? uint64_t{rank[i + width]} + 1 : 0;
      keys[i] = {(uint64_t{rank[i]} << 32) | second, i};
    }
    std::ranges::sort(keys);
    uint32_t next = 0;
    for (uint32_t i = 0; i < n; ++i) {
      if (i > 0 && keys[i].first != keys[i - 1].first) ++next;
      rank[keys[i].second] = next;
      suffixes[i] = keys[i].second;
    }
    if (next + 1 >= n) return suffixes;
  }
}

/// common[i]: how long the suffixes i - 1 and i of the array agree; common[0] is 0.
std::vector<uint32_t> common_prefixes(std::span<const uint32_t> sequence,
                                      const std::vector<uint32_t>& suffixes) {
  const size_t n = sequence.size();
  std::vector<uint32_t> place(n), common(n);
  for (size_t i = 0; i < n; ++i) place[suffixes[i]] = static_cast<uint32_t>(i);
  uint32_t length = 0;
  for (size_t i = 0; i < n; ++i) {
    if (place[i] == 0) {
      length = 0;
      continue;
    }
    const size_t other = suffixes[place[i] - 1];
    while (i + length < n && other + length < n &&
           sequence[i + length] == sequence[other + length]) {
      ++length;
    }
    common[place[i]] = length;
    if (length > 0) --length;
  }
  return common;
}

}  // namespace

RepeatIndex find_repeats(std::span<const uint32_t> sequence, uint32_t length_min) {
  RepeatIndex index;
  const size_t n = sequence.size();
  if (n < 2) return index;
  index.suffixes = suffix_array(sequence);
  const std::vector<uint32_t> common = common_prefixes(sequence, index.suffixes);
  // changes[i]: how often the element before a suffix differs from that before the suffix above it.
  std::vector<uint32_t> changes(n);
  for (size_t i = 1; i < n; ++i) {
    const uint32_t a = index.suffixes[i - 1], b = index.suffixes[i];
    const bool differ = a == 0 || b == 0 || sequence[a - 1] != sequence[b - 1];
    changes[i] = changes[i - 1] + static_cast<uint32_t>(differ);
  }
  struct Open {
    uint32_t length, begin;
  };
  std::vector<Open> open;
  for (size_t i = 1; i <= n; ++i) {
    const uint32_t length = i < n ? common[i] : 0;
    auto begin = static_cast<uint32_t>(i - 1);
    while (!open.empty() && open.back().length > length) {
      begin = open.back().begin;
      if (open.back().length >= length_min && changes[i - 1] > changes[begin]) {
        index.repeats.push_back({open.back().length, begin, static_cast<uint32_t>(i)});
      }
      open.pop_back();
    }
    if (length > 0 && (open.empty() || open.back().length < length))
      open.push_back({length, begin});
  }
  return index;
}

std::vector<uint32_t> occurrences(const RepeatIndex& index, const Repeat& repeat) {
  std::vector<uint32_t> all(index.suffixes.begin() + repeat.begin,
                            index.suffixes.begin() + repeat.end);
  std::ranges::sort(all);
  std::vector<uint32_t> kept;
  for (const uint32_t at : all) {
    if (kept.empty() || at - kept.back() >= repeat.length) kept.push_back(at);
  }
  return kept;
}

}  // namespace hadal::trace
