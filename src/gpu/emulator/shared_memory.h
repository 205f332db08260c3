// The shared memory of one block, seen through two proxies.
//
// Threads read and write through the generic proxy; TMA, bulk copies and wgmma through the
// asynchronous one. What a thread has written becomes certain to be seen there only by that
// thread's fence. So there are two copies: a generic write goes to the generic copy and is
// published to the asynchronous copy by the fence; an asynchronous write goes to both. A reader of
// the asynchronous proxy may see either copy, and the emulator's seed decides which.
//
// Bytes that nobody has written are 0xff: a NaN in every type.
//
// Offsets are those of hooks.h. Callers have checked contains(). One OS thread.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

namespace hadal::gpu::emulator {

class SharedMemory {
 public:
  /// `bytes` of dynamic shared memory behind the first kSharedBase.
  explicit SharedMemory(uint32_t bytes);

  uint32_t end() const { return static_cast<uint32_t>(generic_.size()); }
  bool contains(uint32_t offset, uint64_t bytes) const;

  void read(void* to, uint32_t offset, uint32_t bytes) const {
    std::memcpy(to, &generic_[offset], bytes);
  }
  /// Generic; the caller keeps what it has to publish().
  void write(uint32_t offset, const void* from, uint32_t bytes);
  void publish(uint32_t offset, uint32_t bytes) {
    std::memcpy(&async_[offset], &generic_[offset], bytes);
  }
  void write_async(uint32_t offset, const void* from, uint32_t bytes);

  /// All bytes as a reader of the asynchronous proxy finds them, indexed by offset: with what is
  /// not yet fenced, or without.
  const uint8_t* view(bool fresh) const { return fresh ? generic_.data() : async_.data(); }

  /// Whether any of these bytes has never been written.
  bool unwritten(uint32_t offset, uint32_t bytes) const;

  /// Barriers are marked, so that a write over one is found.
  void mark_barrier(uint32_t offset);
  bool overlaps_barrier(uint32_t offset, uint32_t bytes) const;

 private:
  static constexpr uint8_t kWritten = 1, kBarrier = 2;

  std::vector<uint8_t> generic_, async_, flags_;
};

}  // namespace hadal::gpu::emulator
