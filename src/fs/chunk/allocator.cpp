#include "fs/chunk/allocator.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include <fmt/core.h>

#include "base/check.h"

namespace hadal::fs {

Allocator::Allocator(uint32_t segment_pages, uint32_t segments)
    : segment_pages_(segment_pages),
      order_max_(std::countr_zero(segment_pages)),
      segments_(segments) {
  CHECK(std::has_single_bit(segment_pages) && segment_pages <= kSegmentPagesMax);
  for (uint32_t i = 0; i < segments; ++i) free_segments_.insert(free_segments_.end(), i);
}

uint32_t Allocator::segment_of(const Block& block) const {
  return static_cast<uint32_t>(block.page / segment_pages_);
}

Allocator::Slot& Allocator::slot_of(const Block& block) {
  Segment& segment = segments_[segment_of(block)];
  CHECK(segment.order == block.order, "a block of a size that its segment does not have");
  return segment.slots[(block.page % segment_pages_) >> block.order];
}

void Allocator::cut(uint32_t number, int order) {
  free_segments_.erase(number);
  freed_.erase(number);
  Segment& segment = segments_[number];
  segment.order = order;
  segment.slots.assign(slots_of(order), {});
  segment.free.resize(slots_of(order));
  std::iota(segment.free.rbegin(), segment.free.rend(), 0U);
  with_free_blocks_[static_cast<size_t>(order)].insert(number);
}

Result<Block> Allocator::allocate(int order, const ChunkId& owner, For whom) {
  CHECK(order >= 0 && order <= order_max_);
  auto& open = with_free_blocks_[static_cast<size_t>(order)];
  if (open.empty()) {
    const uint32_t keep = whom == For::kUpdate ? kReservedSegments : 0;
    if (free_segments_.size() <= keep) {
      return fail(Code::kNoSpace, fmt::format("no block of {} KiB is free in {} segments",
                                              (kPageBytes << order) / 1024, segments_.size()));
    }
    cut(*free_segments_.begin(), order);
  }
  const uint32_t number = *open.begin();
  Segment& segment = segments_[number];
  const uint32_t slot = segment.free.back();
  segment.free.pop_back();
  if (segment.free.empty()) open.erase(number);
  ++segment.used;
  segment.slots[slot] = {.references = 1, .owner = owner};
  return Block{.page = uint64_t{number} * segment_pages_ + (uint64_t{slot} << order),
               .order = static_cast<uint8_t>(order)};
}

Result<> Allocator::claim(const Block& block, const ChunkId& owner) {
  const auto refuse = [&](std::string_view why) {
    return fail(Code::kCorrupt, fmt::format("chunk {}: its block of {} pages at page {} {}",
                                            to_string(owner), block.pages(), block.page, why));
  };
  if (block.order > order_max_ || block.page % block.pages() != 0) return refuse("is no block");
  if (block.page / segment_pages_ >= segments_.size()) return refuse("is behind the data's end");
  const uint32_t number = segment_of(block);
  Segment& segment = segments_[number];
  if (segment.order < 0) cut(number, block.order);
  if (segment.order != block.order) return refuse("lies across blocks of another size");
  const auto index = static_cast<uint32_t>((block.page % segment_pages_) >> block.order);
  Slot& slot = segment.slots[index];
  if (slot.references == 0) {
    ++segment.used;
    slot = {.references = 1, .owner = owner};
    return {};
  }
  if (slot.owner != owner) return refuse("belongs to chunk " + to_string(slot.owner) + " as well");
  ++slot.references;
  return {};
}

void Allocator::end_claims() {
  for (uint32_t number = 0; number < segments_.size(); ++number) {
    Segment& segment = segments_[number];
    if (segment.order < 0) continue;
    std::erase_if(segment.free, [&](uint32_t slot) { return segment.slots[slot].references > 0; });
    if (segment.free.empty()) with_free_blocks_[static_cast<size_t>(segment.order)].erase(number);
  }
}

void Allocator::add_reference(const Block& block) {
  Slot& slot = slot_of(block);
  CHECK(slot.references > 0, "a reference to a free block");
  ++slot.references;
}

void Allocator::release(const Block& block) {
  Slot& slot = slot_of(block);
  CHECK(slot.references > 0, "a block is freed twice");
  if (--slot.references > 0) return;
  const uint32_t number = segment_of(block);
  Segment& segment = segments_[number];
  segment.free.push_back(static_cast<uint32_t>((block.page % segment_pages_) >> block.order));
  auto& open = with_free_blocks_[static_cast<size_t>(segment.order)];
  if (--segment.used == 0) {
    open.erase(number);
    segment = {};
    free_segments_.insert(number);
    freed_.insert(number);
    if (evacuated_ == number) evacuated_.reset();
  } else if (evacuated_ != number) {
    open.insert(number);
  }
}

ChunkSpace Allocator::space() const {
  ChunkSpace space;
  space.capacity_pages = uint64_t{segment_pages_} * segments_.size();
  space.free_pages = uint64_t{segment_pages_} * (free_segments_.size() + (taken_ ? 1 : 0));
  space.reserved_pages =
      uint64_t{segment_pages_} * std::min<uint64_t>(kReservedSegments, free_segments_.size());
  for (const Segment& segment : segments_) {
    if (segment.order < 0) continue;
    space.used_pages += uint64_t{segment.used} << segment.order;
    space.slack_pages += uint64_t{segment.free.size()} << segment.order;
  }
  return space;
}

std::vector<Allocator::Resident> Allocator::evacuate() {
  end_evacuation();
  std::optional<uint32_t> best;
  for (size_t order = 0; order < with_free_blocks_.size(); ++order) {
    uint64_t free_blocks = 0;
    for (const uint32_t number : with_free_blocks_[order])
      free_blocks += segments_[number].free.size();
    for (const uint32_t number : with_free_blocks_[order]) {
      const Segment& segment = segments_[number];
      if (free_blocks - segment.free.size() < segment.used) continue;  // no room elsewhere
      const auto used_pages = [this](uint32_t at) {
        return uint64_t{segments_[at].used} << segments_[at].order;
      };
      if (!best || used_pages(number) < used_pages(*best)) best = number;
    }
  }
  if (!best) return {};
  evacuated_ = best;
  const Segment& segment = segments_[*best];
  with_free_blocks_[static_cast<size_t>(segment.order)].erase(*best);
  std::vector<Resident> residents;
  for (size_t slot = 0; slot < segment.slots.size(); ++slot) {
    if (segment.slots[slot].references == 0) continue;
    residents.push_back(
        {.block = {.page = uint64_t{*best} * segment_pages_ + (uint64_t{slot} << segment.order),
                   .order = static_cast<uint8_t>(segment.order)},
         .owner = segment.slots[slot].owner});
  }
  return residents;
}

void Allocator::end_evacuation() {
  if (!evacuated_) return;
  const Segment& segment = segments_[*evacuated_];
  if (!segment.free.empty())
    with_free_blocks_[static_cast<size_t>(segment.order)].insert(*evacuated_);
  evacuated_.reset();
}

std::optional<uint32_t> Allocator::take_freed() {
  CHECK(!taken_, "a segment was not given back");
  if (freed_.empty()) return {};
  taken_ = *freed_.begin();
  freed_.erase(freed_.begin());
  free_segments_.erase(*taken_);
  return taken_;
}

void Allocator::give_back(uint32_t segment) {
  CHECK(taken_ == segment);
  taken_.reset();
  free_segments_.insert(segment);
}

std::string Allocator::check() const {
  for (uint32_t number = 0; number < segments_.size(); ++number) {
    const Segment& segment = segments_[number];
    if ((segment.order < 0) != (free_segments_.contains(number) || taken_ == number))
      return fmt::format("segment {} is neither free nor in use", number);
    if (segment.order < 0) continue;
    const auto used =
        std::ranges::count_if(segment.slots, [](const Slot& slot) { return slot.references > 0; });
    if (static_cast<uint64_t>(used) != segment.used || segment.used == 0 ||
        segment.used + segment.free.size() != segment.slots.size())
      return fmt::format("segment {} counts {} blocks in use of {}, and {} free", number,
                         segment.used, segment.slots.size(), segment.free.size());
    for (const uint32_t slot : segment.free) {
      if (segment.slots[slot].references > 0)
        return fmt::format("slot {} of segment {} is free and in use", slot, number);
    }
    const bool open = with_free_blocks_[static_cast<size_t>(segment.order)].contains(number);
    if (open != (!segment.free.empty() && evacuated_ != number))
      return fmt::format("segment {} is in the wrong list", number);
  }
  const ChunkSpace all = space();
  if (all.used_pages + all.free_pages + all.slack_pages != all.capacity_pages)
    return fmt::format("{} + {} + {} pages are not {}", all.used_pages, all.free_pages,
                       all.slack_pages, all.capacity_pages);
  return {};
}

}  // namespace hadal::fs
