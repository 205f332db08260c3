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
bool looks_like_event(const Window& window, const char* p) {
  const char* before = p;
  const char* const first = std::max(window.begin(), p - Window::kLookBehind);
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

void lose(Chunk& chunk, uint64_t offset, const char* reason) {
  ++chunk.lost_events;
  if (chunk.losses.size() < Health::kLossesListedMax) {
    chunk.losses.push_back({.offset = offset, .reason = reason});
  }
}

class ChunkParser {
 public:
  ChunkParser(Window& window, uint64_t start, uint64_t boundary, Tables& tables, Events& rows,
              const LoadOptions& options)
      : window_(window), boundary_(boundary), tables_(tables), rows_(rows), options_(options) {
    chunk_.start = start;
    chunk_.stop = start;
  }

  Chunk run() {
    for (;;) {
      uint64_t at = chunk_.stop;
      const bool more = skip_separators(window_, at);
      chunk_.stop = at;
      if (!more) {
        chunk_.end = ChunkEnd::kDocumentEnd;
        break;
      }
      if (*window_.at(at) == ']') {
        chunk_.end = ChunkEnd::kArrayEnd;
        break;
      }
      if (at >= boundary_) {
        chunk_.end = ChunkEnd::kNext;
        break;
      }
      if (!event(at)) break;
    }
    return std::move(chunk_);
  }

 private:
  // The event at `at`; false at the end of the document.
  bool event(uint64_t at) {
    if (*window_.at(at) != '{') return lost(at, at, "an event was expected");
    for (;;) {
      const ParseResult result = tables_.parser.parse(window_.at(at), window_.end(), event_);
      if (result.state == Parsed::kWhole) {
        chunk_.stop = window_.offset_of(result.at);
        const char* reason = add_event(event_, at, options_, tables_, rows_, chunk_);
        if (reason != nullptr) lose(chunk_, at, reason);
        return true;
      }
      if (result.state == Parsed::kError)
        return lost(at, window_.offset_of(result.at), result.reason);
      const uint64_t have = window_.end_offset() - at;
      if (have > kEventBytesMax) return lost(at, window_.end_offset(), "longer than 64 MiB");
      // Twice as much each time, so that an event of any length is parsed O(1) times as long.
      if (!window_.grow(std::max<uint64_t>(have, kLookAhead))) return unfinished(at);
    }
  }

  bool lost(uint64_t at, uint64_t seen, const char* reason) {
    lose(chunk_, at, reason);
    const uint64_t back = std::max<uint64_t>(kRetryBytes, (seen - at) / 2);
    return resume(std::max(at + 1, seen - std::min(seen, back)));
  }

  // The document ends inside of the event at `at`: it is cut off, unless other events follow.
  bool unfinished(uint64_t at) {
    const uint64_t seen = window_.end_offset();
    const uint64_t back = std::max<uint64_t>(kRetryBytes, (seen - at) / 2);
    const uint64_t from = std::max(at + 1, seen - std::min(seen, back));
    const std::optional<uint64_t> next = find_event(window_, from);
    if (next) {
      lose(chunk_, at, "an unfinished event");
      chunk_.stop = *next;
      return true;
    }
    chunk_.cut_short = true;
    chunk_.stop = window_.end_offset();
    chunk_.end = ChunkEnd::kDocumentEnd;
    return false;
  }

  bool resume(uint64_t from) {
    const std::optional<uint64_t> next = find_event(window_, from);
    chunk_.stop = next ? *next : window_.end_offset();
    chunk_.end = ChunkEnd::kDocumentEnd;
    return next.has_value();
  }

  Window& window_;
  const uint64_t boundary_;
  Tables& tables_;
  Events& rows_;
  const LoadOptions& options_;
  Chunk chunk_;
  RawEvent event_;
};

// An exact copy of a column; the scratch one keeps its memory.
template <typename T>
void take(std::vector<T>& from, std::vector<T>& to) {
  to.assign(from.begin(), from.end());
  from.clear();
}

}  // namespace

bool skip_separators(Window& window, uint64_t& offset) {
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

std::optional<uint64_t> find_event(Window& window, uint64_t from, uint64_t limit) {
  uint64_t at = from;
  for (;;) {
    // A '{' whose first key may not have been read yet waits for more text.
    const bool all = window.end_offset() >= at + Window::kLookBehind;
    const uint64_t known = all ? window.end_offset() - Window::kLookBehind : at;
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

Chunk parse_chunk(Window& window, uint64_t start, uint64_t boundary, Tables& tables,
                  Events& scratch, const LoadOptions& options) {
  Chunk chunk = ChunkParser(window, start, boundary, tables, scratch, options).run();
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
