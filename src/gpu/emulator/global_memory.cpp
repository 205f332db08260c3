#include "gpu/emulator/global_memory.h"

#include <cstdlib>
#include <cstring>

#include <fmt/core.h>

namespace hadal::gpu::emulator {
namespace {

constexpr size_t kAlignment = 256;

}  // namespace

void GlobalMemory::Freer::operator()(void* memory) const {
  std::free(memory);
}

Result<Address> GlobalMemory::allocate(size_t bytes) {
  const int64_t left = bytes_max_ - bytes_used_;
  if (bytes > static_cast<size_t>(left)) {
    return fail(Code::kNoSpace,
                fmt::format("emulated device: asked for {} bytes; {} of {} are free", bytes, left,
                            bytes_max_));
  }
  const size_t rounded = (bytes + kAlignment) / kAlignment * kAlignment;
  void* memory = std::aligned_alloc(kAlignment, rounded);
  if (memory == nullptr) {
    return fail(Code::kNoSpace, fmt::format("emulated device: the host has no {} bytes", bytes));
  }
  std::memset(memory, 0xff, rounded);
  const auto address = reinterpret_cast<Address>(memory);
  blocks_.emplace(address, Block{bytes, std::unique_ptr<void, Freer>(memory)});
  bytes_used_ += static_cast<int64_t>(bytes);
  return address;
}

void GlobalMemory::free(Address address) {
  const auto found = blocks_.find(address);
  if (found == blocks_.end()) return;
  bytes_used_ -= static_cast<int64_t>(found->second.bytes);
  blocks_.erase(found);
  last_begin_ = 1;
  last_end_ = 0;
}

bool GlobalMemory::contains(Address address, uint64_t bytes) const {
  if (address >= last_begin_ && address <= last_end_ && bytes <= last_end_ - address) return true;
  auto block = blocks_.upper_bound(address);
  if (block == blocks_.begin()) return false;
  --block;
  const Address end = block->first + block->second.bytes;
  if (address > end || bytes > end - address) return false;
  last_begin_ = block->first;
  last_end_ = end;
  return true;
}

std::string GlobalMemory::describe(Address address, uint64_t bytes) const {
  auto block = blocks_.upper_bound(address);
  if (block == blocks_.begin()) {
    return fmt::format("{} bytes at {:#x}, outside of every buffer", bytes, address);
  }
  --block;
  return fmt::format("{} bytes at {:#x}, which is byte {} of a buffer of {} bytes", bytes, address,
                     address - block->first, block->second.bytes);
}

}  // namespace hadal::gpu::emulator
