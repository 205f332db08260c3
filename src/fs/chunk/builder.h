// The next state of a chunk, from the one before: pages are written, extents change hands.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "fs/chunk/held_state.h"
#include "fs/chunk/store.h"

namespace hadal::fs {

/// A chunk has at most so many extents; then the part that has most of them is written anew.
constexpr size_t extents_max(uint64_t chunk_pages) {
  return 128 + chunk_pages / 64;
}
inline constexpr uint32_t kJoinedPages = 256;  // of such a part, which begins at a multiple

class ChunkStore::Builder {
 public:
  /// `base` may be null: an empty chunk.
  Builder(ChunkStore& store, const ChunkId& id, State base, Allocator::For whom)
      : store_(store), id_(id), base_(std::move(base)), whom_(whom), fresh_(store.allocator_) {
    if (!base_) return;
    extents_ = base_->state.extents;
    length_ = base_->state.length;
  }

  Result<> write(uint64_t offset, Bytes data);
  Result<> truncate(uint64_t length);
  void extend(uint64_t length) { length_ = length; }
  Result<> punch(uint64_t offset, uint64_t length);
  Result<> replace(Bytes data);
  void clear();
  /// The same bytes in another block.
  Result<> move(const Block& block);

  /// The state, with these names.
  Result<State> finish(UpdateKind kind, uint64_t chain_version, uint64_t version,
                       const WriterId& writer);
  std::vector<PageRun>& runs() { return runs_; }

 private:
  Result<> put(uint32_t first, Bytes pages);
  Result<> put_block(uint32_t first, Bytes pages, int order, std::vector<Extent>& extents);
  Result<> write_pages(uint64_t data_page, Bytes pages);
  Result<> overwrite(const Extent& extent, uint32_t first, Bytes pages);
  Result<> zero_within_page(uint32_t page, uint64_t begin, uint64_t end);
  Result<> read(uint32_t first, std::span<std::byte> to);
  bool has_page(uint32_t page) const;
  void put_extents(uint32_t first, uint32_t end, const std::vector<Extent>& with);
  Result<> join();

  ChunkStore& store_;
  const ChunkId id_;
  const State base_;
  const Allocator::For whom_;
  HeldState fresh_;  // keeps what was allocated until the state has it
  std::vector<Extent> extents_;
  uint64_t length_ = 0;
  std::vector<PageRun> runs_;
};

}  // namespace hadal::fs
