// What stands around the array of events: the document's other members.
//
// They come before and after traceEvents (the distributedInfo of traces on demand comes after), so
// the scan is called for both sides.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "trace/document.h"
#include "trace/trace.h"

namespace hadal::trace {

/// The members' values as text. Of members of one name the last counts; one of more than 4 MiB is
/// passed over.
using Members = std::map<std::string, std::string, std::less<>>;

enum class MembersEnd : uint8_t {
  kEvents,     // `offset` is after the '[' of traceEvents
  kObjectEnd,  // after the document's '}'
  kDocumentEnd,
  kError,  // at something that is no member
};

/// Reads members from `offset`, which is inside of the document's object.
MembersEnd scan_members(TextWindow& window, uint64_t& offset, Members& members);

/// Finds the array of events behind members that cannot be read: moves `offset` from a place among
/// them to after the '[' of "traceEvents". False if it is not in the next 64 MiB.
bool find_events_array(TextWindow& window, uint64_t& offset);

/// Fills what the members say: devices, distributed setup, name, hints; base_ns becomes
/// baseTimeNanoseconds. What has another type than expected is ignored.
void apply_members(const Members& members, Trace& trace);

}  // namespace hadal::trace
