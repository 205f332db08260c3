// A stretch of the array of events, from text to rows.
//
// parse_chunk() is a function of the document and of where it starts: whichever thread parses a
// stretch, and however it is cut, the same events are found and the same ones lost. So a document
// can be cut at guessed places and parsed by many threads; a guess is right exactly if the parser
// of the stretch before stops there, and a wrong one costs only that its stretch is parsed again
// (load.cpp).
//
// What to do with text that is no event (parse_event() fails, or the array holds something else):
// reading goes on at the next place that looks like the border of two events, "},{" with any blanks
// and then a key that events have. An unescaped quote can make a parser take text for the inside of
// a string, so the search starts inside of what was lost; it starts late enough that hostile text
// is not read again and again.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trace/document.h"
#include "trace/event_parser.h"
#include "trace/table.h"
#include "trace/trace.h"

namespace hadal::trace {

/// An event is not longer than this: a megabyte of name is fine, a file that is one string is not.
inline constexpr uint64_t kEventBytesMax = uint64_t{64} << 20;
/// How much is read at a time: small enough to stay in a core's cache between reading and parsing.
inline constexpr size_t kReadBytes = size_t{1} << 20;
/// How much more, to see the end of the last event.
inline constexpr size_t kLookAhead = size_t{16} << 10;
/// B and E rows, until they are paired.
inline constexpr Phase kBegin = static_cast<Phase>(10);
inline constexpr Phase kEnd = static_cast<Phase>(11);
/// The place of a flow; which track it is depends on which ones exist.
inline constexpr TrackKind kFlowPlace = static_cast<TrackKind>(255);

struct TrackView {
  TrackKind kind;
  std::string_view process, thread;
};
/// A track as one worker knows it. Texts are raw: between the quotes.
struct LocalTrack {
  explicit LocalTrack(const TrackView& v) : kind(v.kind), process(v.process), thread(v.thread) {}
  bool operator==(const TrackView& v) const {
    return kind == v.kind && thread == v.thread && process == v.process;
  }
  TrackKind kind;
  std::string process, thread;
  int64_t device = -1, stream = -1;  // the least of what its events say
};

/// The tracks met last whose texts are short: finds most events' track without hashing text.
class RecentTracks {
 public:
  std::optional<uint16_t> find(const TrackView& view) const {
    if (!is_short(view)) return {};
    const Key key = key_of(view);
    const Entry& entry = entries_[slot_of(key)];
    return entry.key == key ? std::optional(entry.id) : std::nullopt;
  }
  void keep(const TrackView& view, uint16_t id) {
    if (is_short(view)) entries_[slot_of(key_of(view))] = {.key = key_of(view), .id = id};
  }

 private:
  struct Key {
    uint64_t process = 0, thread = 0;  // the texts' bytes
    uint32_t rest = UINT32_MAX;        // lengths and kind; no track has these
    bool operator==(const Key&) const = default;
  };
  static bool is_short(const TrackView& v) { return v.process.size() <= 8 && v.thread.size() <= 8; }
  static uint64_t word(std::string_view text) {
    uint64_t w = 0;
    for (size_t i = text.size(); i-- > 0;) w = w << 8 | static_cast<unsigned char>(text[i]);
    return w;
  }
  static Key key_of(const TrackView& v) {
    return {word(v.process), word(v.thread),
            static_cast<uint32_t>(v.process.size() << 16 | v.thread.size() << 8 |
                                  static_cast<size_t>(v.kind))};
  }
  static size_t slot_of(const Key& key) {
    return (key.process * 31 + key.thread + key.rest) * 0x9e3779b97f4a7c15 >> 58;
  }
  struct Entry {
    Key key;
    uint16_t id = 0;
  };
  std::array<Entry, 64> entries_;
};

/// What the events of one worker share; rows refer to it by number.
struct Tables {
  Table<std::string> names;  // raw
  Table<LocalTrack> tracks;
  RecentTracks recent_tracks;
  Table<Launch> launches;
  Table<Copy> copies;
  Table<CollectiveInfo> infos;
  EventParser parser;            // which knows the layouts that this worker has met
  bool too_many_tracks = false;  // more than a uint16_t can number
};

/// process_name, thread_name and thread_sort_index. Texts are raw.
struct MetaEvent {
  std::string what, process, thread, value;
};

enum class ChunkEnd : uint8_t {
  kNext,      // the next event starts at `stop`, which is at or after the boundary
  kArrayEnd,  // the array's ']' is at `stop`
  kDocumentEnd,
};

struct Chunk {
  uint64_t start = 0, stop = 0;
  ChunkEnd end = ChunkEnd::kNext;
  bool cut_short = false;  // the document ends inside of an event
  int worker = 0;          // whose tables the rows refer to
  uint8_t marks = 0;
  bool has_begins = false;
  uint64_t lost_events = 0, ignored_phases = 0, bad_durations = 0;
  std::vector<Loss> losses;  // the first ones
  Events rows;               // times absolute; names, tracks and details of the worker's tables
  std::vector<CollectiveCall> collectives;  // rows within the chunk
  std::vector<Flow> flows;                  // times absolute
  std::vector<MetaEvent> metadata;
};

/// Parses the events that start in [start, boundary) of the document. `window` is at or before
/// `start`; afterwards it reaches at least to `stop`. `scratch` is memory to be used again.
Chunk parse_chunk(TextWindow& window, uint64_t start, uint64_t boundary, Tables& tables,
                  Events& scratch, const LoadOptions& options);

/// Who takes the events of walk_events().
class EventSink {
 public:
  virtual ~EventSink() = default;
  /// An event and its text, valid during the call. Returns why it is no event after all, or null.
  virtual const char* take(const RawEvent& event, uint64_t offset, std::string_view text) = 0;
  virtual void lose(uint64_t offset, const char* reason) = 0;
};
struct WalkEnd {
  uint64_t stop = 0;
  ChunkEnd end = ChunkEnd::kNext;
  bool cut_short = false;  // the document ends inside of an event
};
/// What parse_chunk() is made of: finds the events, and leaves them to `sink`.
WalkEnd walk_events(TextWindow& window, uint64_t start, uint64_t boundary, EventParser& parser,
                    EventSink& sink);

/// The first place at or after `from` that looks like the start of an event (but not the first of
/// an array). Nothing if the document has none, or none before `limit`.
std::optional<uint64_t> find_event(TextWindow& window, uint64_t from, uint64_t limit = UINT64_MAX);

/// Moves `offset` over blanks and commas; false at the end of the document.
bool skip_separators(TextWindow& window, uint64_t& offset);

}  // namespace hadal::trace
