// Memory for direct access, and a bounded pool of it.
//
// Direct access wants memory that begins at a multiple of kBlockBytes, and the system takes time to
// hand out fresh pages, which a read of 1 MiB feels. So a server reads into buffers of a pool:
// sizes are powers of two, the one that was given back last is given out first (it is still in the
// CPU's cache), and a caller waits where all of the pool's bytes are out.
//
// Memory that is not out is kept for the next caller. What is out and what is kept together are
// never more than the pool's bytes: where another size is asked for, what is kept goes.
//
// Threads: one executor.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/executor.h"
#include "io/file_system.h"

namespace hadal::io {

/// Bytes that begin at a multiple of kBlockBytes. What is in them at first is undefined.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  /// A multiple of kBlockBytes.
  explicit AlignedBuffer(size_t bytes);
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : memory_(std::move(other.memory_)), bytes_(std::exchange(other.bytes_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    memory_ = std::move(other.memory_);
    bytes_ = std::exchange(other.bytes_, 0);
    return *this;
  }

  size_t size() const { return bytes_; }
  std::span<std::byte> bytes() { return {memory_.get(), bytes_}; }
  std::span<const std::byte> bytes() const { return {memory_.get(), bytes_}; }

 private:
  struct Free {
    void operator()(std::byte* memory) const;
  };
  std::unique_ptr<std::byte, Free> memory_;
  size_t bytes_ = 0;
};

class BufferPool {
 public:
  static constexpr size_t kBufferBytesMin = kBlockBytes;
  static constexpr size_t kBufferBytesMax = size_t{64} << 20;

  /// A buffer of the pool; goes back at its end. Not after the pool.
  class Lease {
   public:
    Lease(Lease&& other) noexcept
        : pool_(std::exchange(other.pool_, nullptr)), buffer_(std::move(other.buffer_)) {}
    Lease& operator=(Lease&& other) noexcept {
      std::swap(pool_, other.pool_);
      std::swap(buffer_, other.buffer_);
      return *this;
    }
    ~Lease() {
      if (pool_ != nullptr) pool_->give_back(std::move(buffer_));
    }
    /// A power of two, at least what was asked for.
    size_t size() const { return buffer_.size(); }
    std::span<std::byte> bytes() { return buffer_.bytes(); }
    std::span<const std::byte> bytes() const { return buffer_.bytes(); }

   private:
    friend class BufferPool;
    Lease(BufferPool& pool, AlignedBuffer buffer) : pool_(&pool), buffer_(std::move(buffer)) {}
    BufferPool* pool_;
    AlignedBuffer buffer_;
  };

  /// At least kBufferBytesMin.
  explicit BufferPool(size_t bytes_max);

  /// At least so many bytes. Waits, in the order of calls, where too many are out: kTimeout where
  /// that takes too long. kInvalidArgument: more than kBufferBytesMax, or than the pool ever has.
  Result<Lease> get(size_t bytes, Deadline deadline = Deadline::never());

  size_t bytes_max() const { return bytes_max_; }
  size_t bytes_out() const { return out_bytes_; }
  size_t bytes_kept() const { return kept_bytes_; }

 private:
  static constexpr size_t kSizes = 15;  // 4 KiB to 64 MiB

  void give_back(AlignedBuffer buffer);

  const size_t bytes_max_;
  FiberSemaphore free_;
  std::array<std::vector<AlignedBuffer>, kSizes> kept_;  // by size
  size_t out_bytes_ = 0, kept_bytes_ = 0;
};

}  // namespace hadal::io
