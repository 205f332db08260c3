// The names that the profiler's generations gave to the kinds of events.
#pragma once

#include <cstdint>
#include <string_view>

#include "trace/trace.h"

namespace hadal::trace {

struct CategoryOf {
  Category category = Category::kOther;
  uint8_t marks = 0;              // which generations use this name: bits of Mark
  bool forward_backward = false;  // of arrows
};

/// Signs of a format's generation, as bits.
enum Mark : uint8_t { kMarkOld = 1, kMarkKineto = 2, kMarkNewest = 4 };

CategoryOf category_of(std::string_view cat);

}  // namespace hadal::trace
