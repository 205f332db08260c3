#include "kv/conflict_window.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/check.h"

namespace hadal::kv {

void ConflictWindow::Block::measure() {
  newest = 0;
  for (const Entry& entry : entries) newest = std::max(newest, entry.version);
}

ConflictWindow::ConflictWindow() {
  blocks_[""].entries.push_back({"", 0});
}

ConflictWindow::Blocks::iterator ConflictWindow::block_of(std::string_view key) {
  return std::prev(blocks_.upper_bound(key));
}

ConflictWindow::Blocks::const_iterator ConflictWindow::block_of(std::string_view key) const {
  return std::prev(blocks_.upper_bound(key));
}

/// Makes an entry begin at the key.
void ConflictWindow::cut_at(const std::string& key) {
  const auto it = block_of(key);
  std::vector<Entry>& entries = it->second.entries;
  const auto next = std::ranges::upper_bound(entries, key, {}, &Entry::begin);
  const Entry& in = *std::prev(next);
  if (in.begin == key) return;
  const Version version = in.version;
  entries.insert(next, {key, version});
  ++entries_;
  if (entries.size() <= kBlockEntries) return;
  const auto half = entries.begin() + kBlockEntries / 2;
  Block upper;
  upper.entries.assign(std::move_iterator(half), std::move_iterator(entries.end()));
  upper.measure();
  entries.erase(half, entries.end());
  it->second.measure();
  std::string first = upper.entries.front().begin;
  blocks_.emplace_hint(std::next(it), std::move(first), std::move(upper));
}

/// Entries that begin behind `begin` and before `end`, at both of which entries begin.
void ConflictWindow::erase_between(const std::string& begin, const std::string& end) {
  auto it = block_of(begin);
  std::vector<Entry>& entries = it->second.entries;
  const auto first = std::ranges::upper_bound(entries, begin, {}, &Entry::begin);
  const auto last = std::ranges::lower_bound(entries, end, {}, &Entry::begin);
  entries_ -= static_cast<size_t>(last - first);
  const bool here = last != entries.end();
  entries.erase(first, last);
  if (here) return;
  for (++it; it != blocks_.end() && it->first < end;) {
    Block& block = it->second;
    const auto stay = std::ranges::lower_bound(block.entries, end, {}, &Entry::begin);
    entries_ -= static_cast<size_t>(stay - block.entries.begin());
    if (stay == block.entries.end()) {
      it = blocks_.erase(it);
      continue;
    }
    block.entries.erase(block.entries.begin(), stay);
    block.measure();
    const auto after = std::next(it);
    auto node = blocks_.extract(it);
    node.key() = node.mapped().entries.front().begin;
    blocks_.insert(after, std::move(node));
    return;
  }
}

void ConflictWindow::add(const KeyRange& range, Version version) {
  CHECK(range.begin < range.end);
  cut_at(range.end);
  cut_at(range.begin);
  erase_between(range.begin, range.end);
  Block& block = block_of(range.begin)->second;
  const auto it = std::ranges::lower_bound(block.entries, range.begin, {}, &Entry::begin);
  it->version = version;
  block.newest = std::max(block.newest, version);
}

bool ConflictWindow::written_since(const KeyRange& range, Version version) const {
  for (auto it = block_of(range.begin); it != blocks_.end() && it->first < range.end; ++it) {
    const Block& block = it->second;
    if (block.newest <= version) continue;
    auto entry = std::ranges::upper_bound(block.entries, range.begin, {}, &Entry::begin);
    if (entry != block.entries.begin()) --entry;
    for (; entry != block.entries.end() && entry->begin < range.end; ++entry) {
      if (entry->version > version) return true;
    }
  }
  return false;
}

void ConflictWindow::forget(Version floor, size_t blocks) {
  auto it = block_of(swept_);
  for (size_t i = 0; i < std::min(blocks, blocks_.size()); ++i) {
    std::vector<Entry>& entries = it->second.entries;
    const size_t before = entries.size();
    for (Entry& entry : entries) entry.version = entry.version <= floor ? 0 : entry.version;
    const auto same = [](const Entry& a, const Entry& b) { return a.version == b.version; };
    entries.erase(std::unique(entries.begin(), entries.end(), same), entries.end());
    entries_ -= before - entries.size();
    it->second.measure();
    if (it != blocks_.begin()) {
      Block& lower = std::prev(it)->second;
      if (lower.entries.size() + entries.size() <= kBlockEntries / 2) {
        auto from = entries.begin();
        if (same(lower.entries.back(), *from)) {
          ++from;
          --entries_;
        }
        lower.entries.insert(lower.entries.end(), std::move_iterator(from),
                             std::move_iterator(entries.end()));
        lower.measure();
        it = std::prev(blocks_.erase(it));
      }
    }
    if (++it == blocks_.end()) it = blocks_.begin();
  }
  swept_ = it->first;
}

}  // namespace hadal::kv
