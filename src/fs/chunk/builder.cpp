#include "fs/chunk/builder.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "base/check.h"
#include "base/crc32c.h"

namespace hadal::fs {
namespace {

constexpr int kPiecesMax = 3;  // blocks of one write; the last may be larger than it needs

/// The order of the next block for so many pages: the largest that they fill, but for the last.
int piece_order(uint32_t pages, int pieces_left) {
  const int filled = std::bit_width(pages) - 1;
  return pieces_left > 1 || std::has_single_bit(pages) ? filled : filled + 1;
}

bool is_page_aligned(const void* memory) {
  return reinterpret_cast<uintptr_t>(memory) % kPageBytes == 0;
}

}  // namespace

bool ChunkStore::Builder::has_page(uint32_t page) const {
  const auto extent = std::ranges::partition_point(
      extents_, [&](const Extent& each) { return each.end() <= page; });
  return extent != extents_.end() && extent->first <= page;
}

Result<> ChunkStore::Builder::read(uint32_t first, std::span<std::byte> to) {
  ChunkState now;
  now.extents = extents_;
  return store_.read_pages(id_, now, first, to);
}

void ChunkStore::Builder::put_extents(uint32_t first, uint32_t end,
                                      const std::vector<Extent>& with) {
  std::vector<Extent> before, after;
  for (const Extent& extent : extents_) {
    if (extent.first < first) {
      before.push_back(extent);
      before.back().pages = std::min(extent.end(), first) - extent.first;
    }
    if (extent.end() > end) {
      after.push_back(extent);
      const uint32_t cut = std::max(extent.first, end) - extent.first;
      after.back().first += cut;
      after.back().offset += cut;
      after.back().pages -= cut;
    }
  }
  extents_ = std::move(before);
  extents_.insert(extents_.end(), with.begin(), with.end());
  extents_.insert(extents_.end(), after.begin(), after.end());
}

Result<> ChunkStore::Builder::write_pages(uint64_t data_page, Bytes pages) {
  PageRun run{.page = data_page};
  SumTable::Range sums = TRY(store_.sums_->hold(data_page, pages.size() / kPageBytes));
  for (size_t at = 0; at < pages.size(); at += kPageBytes) {
    run.sums.push_back(crc32c::value(pages.subspan(at, kPageBytes)));
    // Nobody reads these pages yet, so their sums may change before the record is durable.
    sums.set(at / kPageBytes, run.sums.back());
  }
  TRY(store_.data_->write(static_cast<int64_t>(data_page) * kPageBytes, pages));
  runs_.push_back(std::move(run));
  return {};
}

Result<> ChunkStore::Builder::put_block(uint32_t first, Bytes pages, int order,
                                        std::vector<Extent>& extents) {
  // After an error of the log, blocks that are free here may be named by a record there.
  if (store_.log_->failure()) return std::unexpected(*store_.log_->failure());
  const Extent extent{.first = first,
                      .pages = static_cast<uint32_t>(pages.size() / kPageBytes),
                      .block = TRY(store_.allocator_.allocate(order, id_, whom_))};
  fresh_.add_new(extent);
  TRY(write_pages(extent.data_page(), pages));
  extents.push_back(extent);
  return {};
}

Result<> ChunkStore::Builder::put(uint32_t first, Bytes pages) {
  const auto count = static_cast<uint32_t>(pages.size() / kPageBytes);
  if (store_.options_.mistake == ChunkMistake::kOverwriteInPlace) {
    for (const Extent& extent : extents_) {
      if (extent.first <= first && first + count <= extent.end())
        return overwrite(extent, first, pages);
    }
  }
  std::vector<Extent> extents;
  for (uint32_t done = 0, pieces = kPiecesMax; done < count; --pieces) {
    const int order = piece_order(count - done, static_cast<int>(pieces));
    const uint32_t piece = std::min(count - done, uint32_t{1} << order);
    TRY(put_block(first + done,
                  pages.subspan(size_t{done} * kPageBytes, size_t{piece} * kPageBytes), order,
                  extents));
    done += piece;
  }
  put_extents(first, first + count, extents);
  return {};
}

Result<> ChunkStore::Builder::overwrite(const Extent& extent, uint32_t first, Bytes pages) {
  return write_pages(extent.data_page() + (first - extent.first), pages);
}

Result<> ChunkStore::Builder::write(uint64_t offset, Bytes data) {
  if (data.empty()) return {};
  const uint64_t end = offset + data.size();
  const auto first = static_cast<uint32_t>(offset / kPageBytes);
  const uint32_t last = pages_for(end) - 1;
  if (offset % kPageBytes == 0 && end % kPageBytes == 0 && is_page_aligned(data.data())) {
    TRY(put(first, data));
  } else {
    Pages pages(last - first + 1);
    const std::span<std::byte> bytes = bytes_of(pages);
    const bool head = offset % kPageBytes != 0, tail = end % kPageBytes != 0;
    if (head || (tail && first == last)) TRY(read(first, bytes.first(kPageBytes)));
    if (tail && first != last) TRY(read(last, bytes.last(kPageBytes)));
    std::ranges::copy(data, bytes.begin() + static_cast<std::ptrdiff_t>(offset % kPageBytes));
    TRY(put(first, bytes));
  }
  length_ = std::max(length_, end);
  return {};
}

Result<> ChunkStore::Builder::zero_within_page(uint32_t page, uint64_t begin, uint64_t end) {
  if (begin == end || !has_page(page)) return {};
  Pages copy(1);
  TRY(read(page, bytes_of(copy)));
  std::ranges::fill(bytes_of(copy).subspan(begin, end - begin), std::byte{0});
  return put(page, bytes_of(copy));
}

Result<> ChunkStore::Builder::truncate(uint64_t length) {
  const uint32_t pages = pages_for(length);
  put_extents(pages, kSegmentPagesMax, {});
  // Behind the end are zeros, so that a chunk that grows again has none of its old bytes.
  if (length % kPageBytes != 0) TRY(zero_within_page(pages - 1, length % kPageBytes, kPageBytes));
  length_ = length;
  return {};
}

Result<> ChunkStore::Builder::punch(uint64_t offset, uint64_t length) {
  const uint64_t end = std::min(length_, offset + length);
  if (offset >= end) return {};
  const auto first = static_cast<uint32_t>(offset / kPageBytes);
  const auto last = static_cast<uint32_t>(end / kPageBytes);  // the page in which it ends
  if (first == last) return zero_within_page(first, offset % kPageBytes, end % kPageBytes);
  if (offset % kPageBytes != 0) TRY(zero_within_page(first, offset % kPageBytes, kPageBytes));
  TRY(zero_within_page(last, 0, end % kPageBytes));
  // The page of the chunk's end goes whole.
  put_extents(pages_for(offset), end == length_ ? pages_for(end) : last, {});
  return {};
}

void ChunkStore::Builder::clear() {
  extents_.clear();
  length_ = 0;
}

Result<> ChunkStore::Builder::replace(Bytes data) {
  clear();
  return write(0, data);
}

Result<> ChunkStore::Builder::move(const Block& block) {
  const std::vector<Extent> before = extents_;
  std::optional<Block> to;
  for (size_t i = 0; i < before.size(); ++i) {
    if (before[i].block != block) continue;
    if (!to) {
      if (store_.log_->failure()) return std::unexpected(*store_.log_->failure());
      to = TRY(store_.allocator_.allocate(block.order, id_, whom_));
      fresh_.add_new({.first = 0, .pages = 1, .block = *to});
    }
    Pages pages(before[i].pages);
    TRY(read(before[i].first, bytes_of(pages)));
    TRY(write_pages(to->page + before[i].offset, bytes_of(pages)));
    extents_[i].block = *to;
  }
  return {};
}

Result<> ChunkStore::Builder::join() {
  const uint32_t end = pages_for(length_);
  while (extents_.size() > extents_max(end)) {
    std::vector<uint32_t> counts(end / kJoinedPages + 1);
    for (const Extent& extent : extents_) ++counts[extent.first / kJoinedPages];
    const auto most = std::ranges::max_element(counts) - counts.begin();
    const uint32_t first = static_cast<uint32_t>(most) * kJoinedPages;
    Pages pages(std::min(end - first, kJoinedPages));
    TRY(read(first, bytes_of(pages)));
    TRY(put(first, bytes_of(pages)));
  }
  return {};
}

Result<ChunkStore::State> ChunkStore::Builder::finish(UpdateKind kind, uint64_t chain_version,
                                                      uint64_t version, const WriterId& writer) {
  TRY(join());
  auto next = std::make_shared<HeldState>(store_.allocator_);
  next->state.kind = kind;
  next->state.chain_version = chain_version;
  next->state.version = version;
  next->state.length = length_;
  next->state.writer = writer;
  for (const Extent& extent : extents_) next->add_shared(extent);
  return next;
}

}  // namespace hadal::fs
