// Who wrote last: for every key the version of its last write, as far back as transactions that
// still run could have read. A store asks it whether a range was written to since a version.
//
// The key space is cut into intervals of one version each; a write of [begin, end) makes one
// interval of what was there. Intervals stand in sorted blocks of at most kBlockEntries, each with
// its highest version, so that a range over a million intervals is answered from some ten thousand
// numbers. Versions at or below the floor are all "long ago" and melt into one another, a few
// blocks at a time, so that nobody waits for a sweep.
//
// Threads: one.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "kv/kv.h"

namespace hadal::kv {

class ConflictWindow {
 public:
  static constexpr size_t kBlockEntries = 128;

  ConflictWindow();

  /// The range was written at a version that is not below any before. Not an empty range.
  void add(const KeyRange& range, Version version);
  /// Whether anything in the range was written after the version, which is the floor or above.
  bool written_since(const KeyRange& range, Version version) const;
  /// Nobody asks for less than `floor` any more: goes on sweeping, over so many blocks.
  void forget(Version floor, size_t blocks);

  size_t entries() const { return entries_; }
  size_t blocks() const { return blocks_.size(); }

 private:
  struct Entry {
    std::string begin;  // and until the next entry
    Version version;
  };
  struct Block {
    std::vector<Entry> entries;  // never empty
    Version newest = 0;
    void measure();
  };
  using Blocks = std::map<std::string, Block, std::less<>>;  // by the first entry's begin

  Blocks::iterator block_of(std::string_view key);
  Blocks::const_iterator block_of(std::string_view key) const;
  void cut_at(const std::string& key);
  void erase_between(const std::string& begin, const std::string& end);

  Blocks blocks_;
  size_t entries_ = 1;
  std::string swept_;  // where the sweep goes on
};

}  // namespace hadal::kv
