// read_events(): the text of events, from the file they came from.
#include <algorithm>
#include <numeric>

#include <fmt/core.h>

#include "base/check.h"
#include "trace/chunk.h"
#include "trace/document.h"
#include "trace/text.h"
#include "trace/trace.h"

namespace hadal::trace {
namespace {

Error changed(const Trace& trace, uint64_t offset) {
  return {Code::kCorrupt, fmt::format("{}: no event at offset {} any more: the file has changed "
                                      "since it was loaded",
                                      trace.path, offset)};
}

// The event at `offset`, which the window reaches or can reach; it must have the row's name.
Result<std::string> event_at(TextWindow& window, const Trace& trace, uint32_t row) {
  const uint64_t offset = trace.events.offset[row];
  while (window.end_offset() <= offset) {
    window.discard_before(window.end_offset());
    if (!window.grow(kLookAhead)) break;
  }
  RawEvent event;
  ParseResult result{.state = Parsed::kNeedsMore};
  while (window.end_offset() > offset && *window.at(offset) == '{') {
    result = EventParser::parse_alone(window.at(offset), window.end(), event);
    const uint64_t have = window.end_offset() - offset;
    if (result.state != Parsed::kNeedsMore || have > kEventBytesMax) break;
    if (!window.grow(std::max<uint64_t>(have, kLookAhead))) break;
  }
  if (window.error()) return std::unexpected(*window.error());
  uint64_t replaced = 0;
  if (result.state != Parsed::kWhole ||
      clean_text(event[Field::kName], replaced) != trace.name_of(row)) {
    return std::unexpected(changed(trace, offset));
  }
  return std::string(window.at(offset), result.at);
}

}  // namespace

Result<std::vector<std::string>> read_events(const Trace& trace, std::span<const uint32_t> rows) {
  for (const uint32_t row : rows) CHECK(row < trace.events.size(), "read_events: no such row");
  const std::unique_ptr<Source> source = TRY(open_source(trace.path));
  std::vector<uint32_t> order(rows.size());  // by offset, so that one pass is enough
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::sort(order, {}, [&](uint32_t i) { return trace.events.offset[rows[i]]; });
  std::vector<std::string> texts(rows.size());
  TextWindow window(*source);
  for (const uint32_t i : order) {
    const uint64_t offset = trace.events.offset[rows[i]];
    if (source->random() && offset >= window.end_offset()) {
      window.restart(offset);
    } else {
      window.discard_before(offset);
    }
    texts[i] = TRY(event_at(window, trace, rows[i]));
  }
  return texts;
}

}  // namespace hadal::trace
