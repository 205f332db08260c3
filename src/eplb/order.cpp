#include "eplb/order.h"

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

#include "base/check.h"

namespace hadal::eplb {
namespace {

// Items are 64-bit: the load's bits above, the index below. Loads are not negative, so their bits
// compare like integers.
using Item = uint64_t;

uint32_t load_bits(Item item) {
  return static_cast<uint32_t>(item >> 32);
}
bool before(Item a, Item b) {
  return load_bits(a) > load_bits(b);
}

// ---- kStable ----------------------------------------------------------------------------------

// Below this many items, counting for each how many come before it (n^2 / 4 vector compares) beats
// a radix sort; measured crossover near 700 with SSE4.2.
constexpr size_t kCountingMax = 512;

void stable_by_counting(std::span<const float> loads, std::span<int32_t> order,
                        std::vector<uint64_t>& scratch) {
  const size_t n = loads.size();
  scratch.resize((n + 1) / 2);
  auto* bits = reinterpret_cast<int32_t*>(scratch.data());
  for (size_t i = 0; i < n; ++i) bits[i] = std::bit_cast<int32_t>(loads[i]);
  for (size_t i = 0; i < n; ++i) {
    const int32_t own = bits[i];
    int32_t position = 0;
    for (size_t j = 0; j < i; ++j) position += bits[j] >= own;
    for (size_t j = i + 1; j < n; ++j) position += bits[j] > own;
    order[position] = static_cast<int32_t>(i);
  }
}

// Least significant digit first, 11 bits a pass, on inverted bits so that larger loads come first.
void stable_by_radix(std::span<const float> loads, std::span<int32_t> order,
                     OrderScratch& scratch) {
  constexpr int kDigitBits = 11;
  constexpr uint32_t kDigits = 1u << kDigitBits;
  const size_t n = loads.size();
  scratch.keys.resize(n);
  scratch.other.resize(n);
  for (size_t i = 0; i < n; ++i) {
    scratch.keys[i] = static_cast<uint64_t>(~std::bit_cast<uint32_t>(loads[i])) << 32 | i;
  }
  for (int shift = 32; shift < 64; shift += kDigitBits) {
    std::array<uint32_t, kDigits> start{};
    for (const uint64_t key : scratch.keys) ++start[key >> shift & (kDigits - 1)];
    uint32_t sum = 0;
    for (uint32_t& s : start) sum += std::exchange(s, sum);
    for (const uint64_t key : scratch.keys) {
      scratch.other[start[key >> shift & (kDigits - 1)]++] = key;
    }
    scratch.keys.swap(scratch.other);
  }
  for (size_t i = 0; i < n; ++i) order[i] = static_cast<int32_t>(scratch.keys[i]);
}

// ---- kTorch -----------------------------------------------------------------------------------

constexpr ptrdiff_t kInsertionMax = 16;

void sift_up(Item* heap, ptrdiff_t hole, ptrdiff_t top, Item value) {
  while (hole > top) {
    const ptrdiff_t parent = (hole - 1) / 2;
    if (!before(heap[parent], value)) break;
    heap[hole] = heap[parent];
    hole = parent;
  }
  heap[hole] = value;
}

// Moves the hole down to a leaf, always along the later child, then `value` up from there.
void sift_down(Item* heap, ptrdiff_t hole, ptrdiff_t size, Item value) {
  const ptrdiff_t top = hole;
  ptrdiff_t child = hole;
  while (child < (size - 1) / 2) {
    child = 2 * child + 2;
    if (before(heap[child], heap[child - 1])) --child;
    heap[hole] = heap[child];
    hole = child;
  }
  if (size % 2 == 0 && child == (size - 2) / 2) {  // a last node with a left child only
    child = 2 * child + 1;
    heap[hole] = heap[child];
    hole = child;
  }
  sift_up(heap, hole, top, value);
}

void heap_sort(Item* first, Item* last) {
  const ptrdiff_t size = last - first;
  for (ptrdiff_t parent = (size - 2) / 2; parent >= 0; --parent) {
    sift_down(first, parent, size, first[parent]);
  }
  for (ptrdiff_t end = size - 1; end > 0; --end) {
    const Item value = std::exchange(first[end], first[0]);
    sift_down(first, 0, end, value);
  }
}

void median_to(Item* result, Item* a, Item* b, Item* c) {
  Item* median = nullptr;
  if (before(*a, *b)) {
    median = before(*b, *c) ? b : before(*a, *c) ? c : a;
  } else {
    median = before(*a, *c) ? a : before(*b, *c) ? c : b;
  }
  std::swap(*result, *median);
}

// Hoare's partition of [first, last) around *pivot, which the median of three keeps in bounds.
Item* partition(Item* first, Item* last, const Item* pivot) {
  for (;;) {
    while (before(*first, *pivot)) ++first;
    --last;
    while (before(*pivot, *last)) --last;
    if (first >= last) return first;
    std::swap(*first, *last);
    ++first;
  }
}

void introsort(Item* first, Item* last, int depth) {
  while (last - first > kInsertionMax) {
    if (depth-- == 0) {
      heap_sort(first, last);
      return;
    }
    median_to(first, first + 1, first + (last - first) / 2, last - 1);
    Item* cut = partition(first + 1, last, first);
    introsort(cut, last, depth);
    last = cut;
  }
}

void insert_unguarded(Item* at) {
  const Item value = *at;
  for (; before(value, at[-1]); --at) *at = at[-1];
  *at = value;
}

void insertion_sort(Item* first, Item* last) {
  for (Item* i = first + 1; i < last; ++i) {
    if (before(*i, *first)) {
      std::rotate(first, i, i + 1);
    } else {
      insert_unguarded(i);
    }
  }
}

void torch_sort(std::span<Item> items) {
  if (items.empty()) return;
  Item* first = items.data();
  Item* last = first + items.size();
  introsort(first, last, 2 * (std::bit_width(items.size()) - 1));
  Item* guarded = first + std::min<ptrdiff_t>(kInsertionMax, last - first);
  insertion_sort(first, guarded);
  for (Item* i = guarded; i < last; ++i) insert_unguarded(i);
}

}  // namespace

void order_descending(std::span<const float> loads, Ties ties, OrderScratch& scratch,
                      std::span<int32_t> order) {
  DCHECK(order.size() == loads.size());
  const size_t n = loads.size();
  if (ties == Ties::kStable || n <= kInsertionMax) {
    if (n <= kCountingMax) {
      stable_by_counting(loads, order, scratch.keys);
    } else {
      stable_by_radix(loads, order, scratch);
    }
    return;
  }
  scratch.keys.resize(n);
  for (size_t i = 0; i < n; ++i) {
    scratch.keys[i] = static_cast<uint64_t>(std::bit_cast<uint32_t>(loads[i])) << 32 | i;
  }
  torch_sort(scratch.keys);
  for (size_t i = 0; i < n; ++i) order[i] = static_cast<int32_t>(scratch.keys[i]);
}

}  // namespace hadal::eplb
