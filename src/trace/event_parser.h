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
#include <string_view>

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
  uint64_t seen = 0;  // bit i: field i is valid
  std::array<std::string_view, kNumFields> fields;

  bool has(Field f) const { return (seen >> static_cast<int>(f) & 1) != 0; }
  /// Empty if absent.
  std::string_view operator[](Field f) const {
    return has(f) ? fields[static_cast<size_t>(f)] : std::string_view();
  }
  void set(Field f, std::string_view value) {
    seen |= uint64_t{1} << static_cast<int>(f);
    fields[static_cast<size_t>(f)] = value;
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

/// Parses the event whose '{' is at `p`. The text must be padded as scan.h says.
ParseResult parse_event(const char* p, const char* end, RawEvent& event);

}  // namespace hadal::trace
