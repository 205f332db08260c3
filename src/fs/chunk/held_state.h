// A state of a chunk together with its blocks: as long as it lives, they are in use.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "fs/chunk/allocator.h"
#include "fs/chunk/format.h"

namespace hadal::fs {

/// Whole pages at an address that direct access takes.
struct alignas(kPageBytes) Page {
  std::byte bytes[kPageBytes];
};
using Pages = std::vector<Page>;

inline std::span<std::byte> bytes_of(Pages& pages) {
  return std::as_writable_bytes(std::span(pages));
}

inline uint32_t pages_for(uint64_t bytes) {
  return static_cast<uint32_t>((bytes + kPageBytes - 1) / kPageBytes);
}

class HeldState {
 public:
  /// Of a record that was read: claim() must follow, or it holds nothing.
  explicit HeldState(ChunkState read) : state(std::move(read)) {}
  explicit HeldState(Allocator& allocator) : allocator_(&allocator) {}
  ~HeldState() { let_go(); }
  HeldState(const HeldState&) = delete;
  HeldState& operator=(const HeldState&) = delete;

  /// The state; its extents are changed by add() alone.
  ChunkState state = {};

  /// An extent whose block was just allocated, or is another state's.
  void add_new(const Extent& extent) { state.extents.push_back(extent); }
  void add_shared(const Extent& extent) {
    allocator_->add_reference(extent.block);
    state.extents.push_back(extent);
  }

  Result<> claim(Allocator& allocator, const ChunkId& owner) {
    CHECK(allocator_ == nullptr);
    // What was claimed stays claimed: a store that does not open is thrown away.
    for (const Extent& extent : state.extents) TRY(allocator.claim(extent.block, owner));
    allocator_ = &allocator;
    return {};
  }

  void let_go() {
    if (allocator_ == nullptr) return;
    for (const Extent& extent : state.extents) allocator_->release(extent.block);
    allocator_ = nullptr;
  }

 private:
  Allocator* allocator_ = nullptr;
};

}  // namespace hadal::fs
