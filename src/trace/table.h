// A set of values that many events share (names, launches, ...), each stored once and numbered in
// the order of arrival. The numbers of one table mean nothing to another: assemble.h joins them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hadal::trace {

template <typename T>
class Table {
 public:
  /// The number of the value equal to `probe`, which hashes to `hash`; a new one if there is none.
  template <typename Probe>
  uint32_t id_of(const Probe& probe, uint64_t hash) {
    if (items_.size() * 2 >= slots_.size()) grow();
    for (size_t i = hash & mask_;; i = (i + 1) & mask_) {
      Slot& slot = slots_[i];
      if (slot.id == kFree) {
        slot = {.tag = static_cast<uint32_t>(hash >> 32),
                .id = static_cast<uint32_t>(items_.size())};
        hashes_.push_back(hash);
        items_.push_back(T(probe));
        return slot.id;
      }
      if (slot.tag == static_cast<uint32_t>(hash >> 32) && items_[slot.id] == probe) return slot.id;
    }
  }

  const std::vector<T>& items() const { return items_; }
  std::vector<T>& items() { return items_; }

 private:
  static constexpr uint32_t kFree = UINT32_MAX;
  struct Slot {
    uint32_t tag = 0;  // the hash's upper half
    uint32_t id = kFree;
  };

  void grow() {
    std::vector<Slot> slots(slots_.empty() ? 256 : slots_.size() * 2);
    mask_ = slots.size() - 1;
    for (uint32_t id = 0; id < items_.size(); ++id) {
      size_t i = hashes_[id] & mask_;
      while (slots[i].id != kFree) i = (i + 1) & mask_;
      slots[i] = {.tag = static_cast<uint32_t>(hashes_[id] >> 32), .id = id};
    }
    slots_.swap(slots);
  }

  std::vector<Slot> slots_;
  size_t mask_ = 0;
  std::vector<T> items_;
  std::vector<uint64_t> hashes_;
};

}  // namespace hadal::trace
