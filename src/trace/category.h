// The names that the profiler's generations gave to the kinds of events.
#pragma once

#include <cstdint>
#include <string_view>

#include "trace/trace.h"

namespace hadal::trace {

struct CategoryOf {
  Category category = Category::kOther;
  uint8_t marks = 0;  // which generations use this name: bits of Mark (chunk.h)
};
CategoryOf category_of(std::string_view cat);

}  // namespace hadal::trace
