// The emulated device's memory: separate blocks of the host's heap, each known by its bounds, so
// that an access outside of any is found. Fresh memory is 0xff. The owner serialises calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

#include "gpu/gpu.h"

namespace hadal::gpu::emulator {

class GlobalMemory {
 public:
  explicit GlobalMemory(int64_t bytes_max) : bytes_max_(bytes_max) {}

  /// kNoSpace with what was asked and what is free. Aligned to 256; 0 bytes are a block, too.
  Result<Address> allocate(size_t bytes);
  void free(Address address);

  /// Whether all of these bytes lie in one block.
  bool contains(Address address, uint64_t bytes) const;
  /// "outside of every buffer", or which buffer is nearest, for a message.
  std::string describe(Address address, uint64_t bytes) const;

 private:
  struct Freer {
    void operator()(void* memory) const;
  };
  struct Block {
    size_t bytes;
    std::unique_ptr<void, Freer> memory;
  };

  int64_t bytes_max_;
  int64_t bytes_used_ = 0;
  std::map<Address, Block> blocks_;
  mutable Address last_begin_ = 1, last_end_ = 0;  // the block of the last hit; empty at first
};

}  // namespace hadal::gpu::emulator
