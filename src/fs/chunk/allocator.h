// Which pages of the data file are in use, and by how many states.
//
// The file is cut into segments; a segment in use is cut into blocks of one size (a slab), so that
// finding a free block takes no search and freeing one leaves no fragment but in its own size. A
// block counts the states that refer to it, of the index and of readers, and is free when the count
// is zero. When the free segments run out although others are half empty, evacuate() names blocks
// that should move.
//
// Invariants, checked by check(): free segments and those of each size are disjoint and are all;
// the blocks in use of a segment are those with a count; used + free pages = capacity.
//
// Nothing here is stored: opening a store counts the references of its chunks again.
// Threads: one executor. Nothing waits.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "fs/chunk/format.h"

namespace hadal::fs {

/// Free segments that only the store's own work may take (moving blocks, joining extents), so that
/// a full store can still make room.
inline constexpr uint32_t kReservedSegments = 2;

struct ChunkSpace {
  uint64_t capacity_pages = 0;
  uint64_t used_pages = 0;      // in blocks with references
  uint64_t free_pages = 0;      // in segments that are free
  uint64_t slack_pages = 0;     // free blocks in segments in use: free for their size only
  uint64_t reserved_pages = 0;  // of the free ones: not for updates
};

class Allocator {
 public:
  enum class For : uint8_t { kUpdate, kUpkeep };

  Allocator(uint32_t segment_pages, uint32_t segments);

  int order_max() const { return order_max_; }

  /// A free block of 2^order pages, with one reference and this owner. kNoSpace.
  Result<Block> allocate(int order, const ChunkId& owner, For whom);
  /// While a store is opened: one more reference to a block that a chunk has. kCorrupt if the block
  /// lies across others, outside the file, or belongs to another chunk. end_claims() must follow.
  Result<> claim(const Block& block, const ChunkId& owner);
  void end_claims();
  void add_reference(const Block& block);
  void release(const Block& block);

  ChunkSpace space() const;

  struct Resident {
    Block block;
    ChunkId owner;
  };
  /// The blocks in use of the emptiest segment whose blocks fit into others of their size, so that
  /// moving them frees a segment; nothing goes to it from now on. Empty: none would free one.
  std::vector<Resident> evacuate();
  /// Ends the last evacuate(): what is still there stays.
  void end_evacuation();

  /// A segment that was used and is free now: its bytes can go. Nobody gets it before give_back().
  std::optional<uint32_t> take_freed();
  void give_back(uint32_t segment);

  /// What is wrong with the books; empty: nothing.
  std::string check() const;

 private:
  struct Slot {
    uint32_t references = 0;
    ChunkId owner = {};
  };
  struct Segment {
    int order = -1;     // of its blocks; -1: free
    uint32_t used = 0;  // slots with references
    std::vector<Slot> slots = {};
    std::vector<uint32_t> free = {};  // slots, the next one last
  };

  uint32_t segment_of(const Block& block) const;
  Slot& slot_of(const Block& block);
  void cut(uint32_t number, int order);
  uint64_t slots_of(int order) const { return uint64_t{segment_pages_} >> order; }

  const uint32_t segment_pages_;
  const int order_max_;
  std::vector<Segment> segments_;
  std::set<uint32_t> free_segments_;
  std::array<std::set<uint32_t>, 19> with_free_blocks_;  // by order
  std::optional<uint32_t> evacuated_;
  std::set<uint32_t> freed_;       // of the free ones: those that were in use
  std::optional<uint32_t> taken_;  // by take_freed()
};

}  // namespace hadal::fs
