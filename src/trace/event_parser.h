// One event of a trace from text to a record of its fields.
//
// The parser accepts what real traces contain, not only what JSON allows: trailing, double and
// leading commas, bare words (inf, nan) as values, raw control characters in strings and between
// tokens, backslashes that escape nothing. It does not accept what leaves the structure in doubt: a
// missing colon, a quote too many. Such an event is an error, and the caller goes on at the next
// one.
//
// Values are recognised by key, at two levels: the members of the event and those of its "args".
// Nothing is converted here; a field is the text of its value, without quotes.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "trace/category.h"
#include "trace/trace.h"

namespace hadal::trace {

enum class Field : uint8_t {
  // Members of the event.
  kPhase,
  kCategory,
  kName,
  kTs,
  kDur,
  kPid,
  kTid,
  kId,
  // Members of args.
  kCorrelation,
  kDevice,
  kStream,
  kRegisters,
  kSharedMemory,
  kGrid,   // the text of the array
  kBlock,  // likewise
  kOccupancy,
  kBytes,
  kBandwidth,
  kSequence,
  kWaitCorrelation,
  kMetaName,
  kSortIndex,
  kCollective,
  kDtype,
  kInElements,
  kOutElements,
  kGroupSize,
  kGroupName,
  kGroupDescription,
  kGroupRanks,
  kCollectiveSequence,
  kOccupancyDetail,  // "occupancy": {...}, the mark of the newest generation
  kNone,             // any other
};
inline constexpr int kNumFields = static_cast<int>(Field::kNone);

/// The fields of one event: views into the text it was parsed from. A later member of the same name
/// replaces an earlier one.
struct RawEvent {
  char phase = 0;                                       // of `ph` if that is one character; else 0
  CategoryOf category;                                  // of `cat`
  uint64_t seen = 0;                                    // bit i: field i is valid
  std::array<std::string_view, kNumFields + 1> fields;  // the last takes what is no field

  bool has(Field f) const { return (seen >> static_cast<int>(f) & 1) != 0; }
  /// Empty if absent.
  std::string_view operator[](Field f) const {
    return has(f) ? fields[static_cast<size_t>(f)] : std::string_view();
  }
};

enum class Parsed : uint8_t {
  kWhole,
  kNeedsMore,  // the text ends inside of the event
  kError,
};
struct ParseResult {
  Parsed state = Parsed::kWhole;
  const char* at = nullptr;  // after the event; where the error was seen; the end of the text
  const char* reason = "";   // of an error
};

/// Parses events, and learns their layout while it does. A trace has millions of events and a dozen
/// layouts: the bytes between the values ("\n    \"args\": {\n      \"External id\": ") are the
/// same in all events of a layout. They are kept in a tree, from an event's first byte to its last;
/// an event is first held against the tree, 16 bytes at a time, and only one of an unknown layout
/// goes through the parser proper, and then into the tree. Values of `ph` and `cat` are few, so
/// they count as layout, and an event's category is known without looking at it. The result is the
/// same on both ways: the tree holds only what the parser has accepted, and values end by the same
/// rules. Not for several threads.
class EventParser {
 public:
  EventParser();
  /// Parses the event whose '{' is at `p`. The text must be padded as scan.h says.
  ParseResult parse(const char* p, const char* end, RawEvent& event) {
    if (const char* after = match(p, end, event)) [[likely]]
      return {.state = Parsed::kWhole, .at = after};
    return parse_unknown(p, end, event);
  }

  /// Without the tree: for comparison.
  static ParseResult parse_alone(const char* p, const char* end, RawEvent& event);

 private:
  enum class Kind : uint8_t { kString, kWord, kContainer, kEnd };
  struct Node {
    std::unique_ptr<char[]> literal;  // in full blocks of 16
    uint32_t size = 0;                // of the literal
    uint32_t child = 0, sibling = 0;  // 0: none
    Kind kind = Kind::kEnd;
    Field field = Field::kNone;
    char phase = 0;  // kEnd: of the whole event
    CategoryOf category;
    uint64_t seen = 0;
  };
  struct Value {
    const char* begin;
    const char* end;
    Kind kind;
    Field field;
  };
  class Parser;

  const char* match(const char* p, const char* end, RawEvent& event) const;
  ParseResult parse_unknown(const char* p, const char* end, RawEvent& event);
  void learn(const char* p, const char* after, const RawEvent& event);

  std::vector<Node> nodes_;  // 0 is the root
  std::vector<Value> values_;
};

}  // namespace hadal::trace
