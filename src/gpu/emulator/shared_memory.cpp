#include "gpu/emulator/shared_memory.h"

#include <algorithm>

#include "gpu/emulator/hooks.h"

namespace hadal::gpu::emulator {

SharedMemory::SharedMemory(uint32_t bytes)
    : generic_(kSharedBase + bytes, 0xff), async_(generic_), flags_(generic_.size(), 0) {}

bool SharedMemory::contains(uint32_t offset, uint64_t bytes) const {
  return offset >= kSharedBase && offset <= end() && bytes <= end() - offset;
}

void SharedMemory::write(uint32_t offset, const void* from, uint32_t bytes) {
  std::memcpy(&generic_[offset], from, bytes);
  for (uint32_t i = 0; i < bytes; ++i) flags_[offset + i] |= kWritten;
}

void SharedMemory::write_async(uint32_t offset, const void* from, uint32_t bytes) {
  write(offset, from, bytes);
  std::memcpy(&async_[offset], from, bytes);
}

bool SharedMemory::unwritten(uint32_t offset, uint32_t bytes) const {
  return std::any_of(&flags_[offset], &flags_[offset] + bytes,
                     [](uint8_t flags) { return (flags & kWritten) == 0; });
}

void SharedMemory::mark_barrier(uint32_t offset) {
  for (uint32_t i = 0; i < 8; ++i) flags_[offset + i] |= kBarrier;
}

bool SharedMemory::overlaps_barrier(uint32_t offset, uint32_t bytes) const {
  return std::any_of(&flags_[offset], &flags_[offset] + bytes,
                     [](uint8_t flags) { return (flags & kBarrier) != 0; });
}

}  // namespace hadal::gpu::emulator
