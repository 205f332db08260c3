#include "io/buffer.h"

#include <bit>
#include <cstdlib>
#include <new>

#include <fmt/core.h>

#include "base/check.h"

namespace hadal::io {
namespace {

size_t index_of(size_t bytes) {
  return static_cast<size_t>(std::countr_zero(bytes / BufferPool::kBufferBytesMin));
}

}  // namespace

AlignedBuffer::AlignedBuffer(size_t bytes) : bytes_(bytes) {
  CHECK(bytes % kBlockBytes == 0);
  memory_.reset(static_cast<std::byte*>(std::aligned_alloc(kBlockBytes, bytes)));
  if (memory_ == nullptr && bytes > 0) throw std::bad_alloc();
}

void AlignedBuffer::Free::operator()(std::byte* memory) const {
  std::free(memory);
}

BufferPool::BufferPool(size_t bytes_max)
    : bytes_max_(bytes_max), free_(static_cast<int64_t>(bytes_max)) {
  static_assert(kBufferBytesMin << (kSizes - 1) == kBufferBytesMax);
  CHECK(bytes_max >= kBufferBytesMin && bytes_max <= size_t{kFileBytesMax});
}

Result<BufferPool::Lease> BufferPool::get(size_t bytes, Deadline deadline) {
  const size_t most = std::min(std::bit_floor(bytes_max_), kBufferBytesMax);
  if (bytes > most) {
    return fail(Code::kInvalidArgument,
                fmt::format("a buffer of {} bytes; the pool has up to {}", bytes, most));
  }
  const size_t size = std::bit_ceil(std::max(bytes, kBufferBytesMin));
  if (!free_.acquire(static_cast<int64_t>(size), deadline)) {
    return fail(Code::kTimeout, fmt::format("no buffer of {} bytes: all {} of the pool are in use",
                                            size, bytes_max_));
  }
  out_bytes_ += size;
  std::vector<AlignedBuffer>& kept = kept_[index_of(size)];
  if (!kept.empty()) {
    AlignedBuffer buffer = std::move(kept.back());
    kept.pop_back();
    kept_bytes_ -= size;
    return Lease(*this, std::move(buffer));
  }
  // What is out is within the bound, so dropping all that is kept would do.
  for (auto largest = kept_.rbegin(); out_bytes_ + kept_bytes_ > bytes_max_;) {
    if (largest->empty()) {
      ++largest;
      continue;
    }
    kept_bytes_ -= largest->back().size();
    largest->pop_back();
  }
  return Lease(*this, AlignedBuffer(size));
}

void BufferPool::give_back(AlignedBuffer buffer) {
  const size_t size = buffer.size();
  out_bytes_ -= size;
  kept_bytes_ += size;
  kept_[index_of(size)].push_back(std::move(buffer));
  free_.release(static_cast<int64_t>(size));
}

}  // namespace hadal::io
