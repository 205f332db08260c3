#include "fs/chunk/sums.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace hadal::fs {

SumTable::SumTable(std::unique_ptr<io::File> file, int64_t cache_bytes_max)
    : file_(std::move(file)), cached_pages_max_(cache_bytes_max / kPageBytes) {}

Result<SumTable::Range> SumTable::hold(uint64_t page, uint64_t pages) {
  Range range;
  range.table_ = this;
  range.first_ = page;
  range.count_ = pages;
  if (pages == 0) return range;
  for (uint64_t i = page / kSumsPerPage; i <= (page + pages - 1) / kSumsPerPage; ++i) {
    auto [found, is_new] = pages_.try_emplace(i);
    if (is_new) {
      found->second = std::make_shared<Page>();
      found->second->number = i;
    }
    const std::shared_ptr<Page> held = found->second;
    idle_.erase(held->used);
    ++held->holders;
    range.pages_.push_back(held);  // released with it, whatever happens
    TRY(load(*held));
  }
  return range;
}

Result<> SumTable::load(Page& page) {
  // Who loads may fail, and then the next one tries.
  while (!page.loaded) {
    if (page.used == 0) {
      page.used = ++uses_;  // this fiber loads
      const auto bytes = std::as_writable_bytes(std::span(page.sums->values));
      const auto offset = static_cast<int64_t>(page.number) * kPageBytes;
      const Result<size_t> read = file_->read(offset, bytes);
      page.used = 0;
      page.loading.wake_all();
      if (!read) return std::unexpected(read.error());
      page.loaded = true;
    } else {
      page.loading.wait();
    }
  }
  return {};
}

void SumTable::release(Page& page) {
  CHECK(page.holders > 0);
  if (--page.holders > 0 || page.dirty) return;
  if (!page.loaded) {
    pages_.erase(page.number);
    return;
  }
  page.used = ++uses_;
  idle_.emplace(page.used, page.number);
  evict();
}

void SumTable::evict() {
  while (static_cast<int64_t>(idle_.size()) > cached_pages_max_) {
    pages_.erase(idle_.begin()->second);
    idle_.erase(idle_.begin());
  }
}

Result<> SumTable::flush() {
  std::vector<std::shared_ptr<Page>> dirty;
  for (const auto& [number, page] : pages_) {
    if (page->dirty) dirty.push_back(page);
  }
  for (const std::shared_ptr<Page>& page : dirty) {
    ++page->holders;  // stays, and is not clean before it is written
    page->dirty = false;
    --dirty_pages_;
  }
  // If one fails, all are dirty again.
  struct Guard {
    SumTable& table;
    std::vector<std::shared_ptr<Page>>& pages;
    bool done = false;
    ~Guard() {
      for (const std::shared_ptr<Page>& page : pages) {
        if (!done && !page->dirty) {
          page->dirty = true;
          ++table.dirty_pages_;
        }
        table.release(*page);
      }
    }
  } guard{*this, dirty};
  for (const std::shared_ptr<Page>& page : dirty) {
    const Sums copy = *page->sums;  // may change while it is written
    const auto offset = static_cast<int64_t>(page->number) * kPageBytes;
    TRY(file_->write(offset, std::as_bytes(std::span(copy.values))));
  }
  if (!dirty.empty()) TRY(file_->sync());
  guard.done = true;
  return {};
}

SumTable::Range& SumTable::Range::operator=(Range&& other) noexcept {
  std::swap(table_, other.table_);
  std::swap(first_, other.first_);
  std::swap(count_, other.count_);
  std::swap(pages_, other.pages_);
  return *this;
}

SumTable::Range::~Range() {
  for (const std::shared_ptr<Page>& page : pages_) table_->release(*page);
}

uint32_t SumTable::Range::operator[](uint64_t i) const {
  DCHECK(i < count_);
  const uint64_t at = first_ + i;
  return pages_[at / kSumsPerPage - first_ / kSumsPerPage]->sums->values[at % kSumsPerPage];
}

void SumTable::Range::set(uint64_t i, uint32_t sum) {
  DCHECK(i < count_);
  const uint64_t at = first_ + i;
  Page& page = *pages_[at / kSumsPerPage - first_ / kSumsPerPage];
  page.sums->values[at % kSumsPerPage] = sum;
  if (page.dirty) return;
  page.dirty = true;
  ++table_->dirty_pages_;
}

}  // namespace hadal::fs
