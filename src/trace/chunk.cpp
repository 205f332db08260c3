#include "trace/chunk.h"

#include <algorithm>
#include <cstring>

#include "trace/row.h"
#include "trace/scan.h"

namespace hadal::trace {
namespace {

// How far the search for the next event goes back into a lost one. Not more than half of it, so
// that a text of n bytes is read O(log n) times at worst beyond this length.
constexpr uint64_t kRetryBytes = 4096;

constexpr std::string_view kFirstKeys[] = {"ph", "name", "cat", "ts",   "pid", "tid",
                                           "id", "s",    "dur", "args", "bp"};

// Does the '{' at `p` stand between two events?
bool looks_like_event(const TextWindow& window, const char* p) {
  const char* before = p;
  const char* const first = std::max(window.begin(), p - TextWindow::kLookBehind);
  bool comma = false;
  while (before != first && (static_cast<unsigned char>(before[-1]) <= ' ' || before[-1] == ',')) {
    comma = comma || before[-1] == ',';
    --before;
  }
  if (!comma || before == first || before[-1] != '}') return false;
  const char* key = skip_blanks(p + 1);
  // Not too far away, so that the verdict does not depend on how much has been read.
  if (*key != '"' || key - p > 48) return false;
  const std::string_view rest(key + 1, 6);
  return std::ranges::any_of(
      kFirstKeys, [&](std::string_view k) { return rest.starts_with(k) && rest[k.size()] == '"'; });
}

class Walker {
 public:
  Walker(TextWindow& window, uint64_t boundary, EventParser& parser, EventSink& sink)
      : window_(window), boundary_(boundary), parser_(parser), sink_(sink) {}

  WalkEnd run(uint64_t at) {
    for (;;) {
      const bool more = skip_separators(window_, at);
      if (!more) return {.stop = at, .end = ChunkEnd::kDocumentEnd, .cut_short = cut_short_};
      if (*window_.at(at) == ']') return {.stop = at, .end = ChunkEnd::kArrayEnd};
      if (at >= boundary_) return {.stop = at, .end = ChunkEnd::kNext};
      at = event(at);
    }
  }

 private:
  // Takes the event at `at` and returns where to go on.
  uint64_t event(uint64_t at) {
    if (*window_.at(at) != '{') return lost(at, at, "an event was expected");
    for (;;) {
      const ParseResult result = parser_.parse(window_.at(at), window_.end(), event_);
      if (result.state == Parsed::kWhole) {
        const uint64_t after = window_.offset_of(result.at);
        const char* reason = sink_.take(event_, at, {window_.at(at), result.at});
        if (reason != nullptr) sink_.lose(at, reason);
        return after;
      }
      if (result.state == Parsed::kError) {
        return lost(at, window_.offset_of(result.at), result.reason);
      }
      const uint64_t have = window_.end_offset() - at;
      if (have > kEventBytesMax) return lost(at, window_.end_offset(), "longer than 64 MiB");
      // Twice as much each time, so that an event of any length is parsed O(1) times as long.
      if (!window_.grow(std::max<uint64_t>(have, kLookAhead))) return unfinished(at);
    }
  }

  // Where to look for the next event after one at `at` that turned out bad at `seen`.
  static uint64_t retry_from(uint64_t at, uint64_t seen) {
    const uint64_t back = std::max<uint64_t>(kRetryBytes, (seen - at) / 2);
    return std::max(at + 1, seen - std::min(seen, back));
  }

  uint64_t lost(uint64_t at, uint64_t seen, const char* reason) {
    sink_.lose(at, reason);
    const std::optional<uint64_t> next = find_event(window_, retry_from(at, seen));
    return next ? *next : window_.end_offset();
  }

  // The document ends inside of the event at `at`: it is cut off, unless other events follow.
  uint64_t unfinished(uint64_t at) {
    const std::optional<uint64_t> next = find_event(window_, retry_from(at, window_.end_offset()));
    if (next) {
      sink_.lose(at, "an unfinished event");
      return *next;
    }
    cut_short_ = true;
    return window_.end_offset();
  }

  TextWindow& window_;
  const uint64_t boundary_;
  EventParser& parser_;
  EventSink& sink_;
  RawEvent event_;
  bool cut_short_ = false;
};

// Makes rows of events.
class RowSink : public EventSink {
 public:
  RowSink(Tables& tables, Events& rows, const LoadOptions& options, Chunk& chunk)
      : tables_(tables), rows_(rows), options_(options), chunk_(chunk) {}
  const char* take(const RawEvent& event, uint64_t offset, std::string_view) override {
    return add_event(event, offset, options_, tables_, rows_, chunk_);
  }
  void lose(uint64_t offset, const char* reason) override {
    ++chunk_.lost_events;
    if (chunk_.losses.size() < Health::kLossesListedMax) {
      chunk_.losses.push_back({.offset = offset, .reason = reason});
    }
  }

 private:
  Tables& tables_;
  Events& rows_;
  const LoadOptions& options_;
  Chunk& chunk_;
};

// An exact copy of a column; the scratch one keeps its memory.
template <typename T>
void take(std::vector<T>& from, std::vector<T>& to) {
  to.assign(from.begin(), from.end());
  from.clear();
}

}  // namespace

bool skip_separators(TextWindow& window, uint64_t& offset) {
  for (;;) {
    if (offset < window.end_offset()) {
      const char* p = skip_blanks(window.at(offset));
      while (*p == ',') p = skip_blanks(p + 1);
      offset = window.offset_of(std::min(p, window.end()));
      if (p < window.end()) return true;
    }
    window.discard_before(offset);
    if (!window.grow(kLookAhead)) return false;
  }
}

std::optional<uint64_t> find_event(TextWindow& window, uint64_t from, uint64_t limit) {
  uint64_t at = from;
  for (;;) {
    // A '{' whose first key may not have been read yet waits for more text.
    const bool all = window.end_offset() >= at + TextWindow::kLookBehind;
    const uint64_t known = all ? window.end_offset() - TextWindow::kLookBehind : at;
    while (at < known && at < limit) {
      const void* brace = std::memchr(window.at(at), '{', std::min(known, limit) - at);
      if (brace == nullptr) {
        at = std::min(known, limit);
        break;
      }
      const char* p = static_cast<const char*>(brace);
      if (looks_like_event(window, p)) return window.offset_of(p);
      at = window.offset_of(p) + 1;
    }
    if (at >= limit) return {};
    window.discard_before(at);
    if (!window.grow(kReadBytes)) break;
  }
  for (; at < window.end_offset() && at < limit; ++at) {
    if (*window.at(at) == '{' && looks_like_event(window, window.at(at))) return at;
  }
  return {};
}

WalkEnd walk_events(TextWindow& window, uint64_t start, uint64_t boundary, EventParser& parser,
                    EventSink& sink) {
  return Walker(window, boundary, parser, sink).run(start);
}

Chunk parse_chunk(TextWindow& window, uint64_t start, uint64_t boundary, Tables& tables,
                  Events& scratch, const LoadOptions& options) {
  Chunk chunk;
  RowSink sink(tables, scratch, options, chunk);
  const WalkEnd end = walk_events(window, start, boundary, tables.parser, sink);
  chunk.start = start;
  chunk.stop = end.stop;
  chunk.end = end.end;
  chunk.cut_short = end.cut_short;
  take(scratch.start_ns, chunk.rows.start_ns);
  take(scratch.duration_ns, chunk.rows.duration_ns);
  take(scratch.offset, chunk.rows.offset);
  take(scratch.name, chunk.rows.name);
  take(scratch.correlation, chunk.rows.correlation);
  take(scratch.detail, chunk.rows.detail);
  take(scratch.track, chunk.rows.track);
  take(scratch.category, chunk.rows.category);
  take(scratch.phase, chunk.rows.phase);
  chunk.flows.shrink_to_fit();
  return chunk;
}

}  // namespace hadal::trace
