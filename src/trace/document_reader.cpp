#include "trace/document_reader.h"

#include <algorithm>
#include <string_view>

#include <fmt/core.h>

namespace hadal::trace {

Result<> DocumentReader::read_document() {
  Result<> frame = read_frame();
  if (window_.error()) return std::unexpected(*window_.error());
  const std::string broken = source_.broken();
  if (!broken.empty() && window_.end_offset() == 0) {
    return fail(Code::kCorrupt, fmt::format("{}: {} at its start", path_, broken));
  }
  if (!broken.empty()) {
    health_.truncated = true;
    lose(window_.end_offset(), broken);
  }
  document_bytes_ = source_.size().value_or(window_.end_offset());
  if (health_.truncated) health_.truncated_at = document_bytes_;
  return frame;
}

Result<> DocumentReader::read_frame() {
  uint64_t at = 0;
  window_.grow(kReadBytes);
  if (std::string_view(window_.begin(), window_.end()).starts_with("\xef\xbb\xbf")) at = 3;
  if (!skip_separators(window_, at)) {
    return fail(Code::kCorrupt, fmt::format("{}: not a trace: the file is empty", path_));
  }
  const char first = *window_.at(at);
  if (first != '[' && first != '{') {
    return fail(Code::kCorrupt, fmt::format("{}: not a trace: JSON begins with '{{' or '[', and "
                                            "this with the byte 0x{:02x}",
                                            path_, static_cast<unsigned char>(first)));
  }
  is_array_ = first == '[';
  ++at;
  bool in_events = is_array_;
  for (;;) {
    if (!in_events && !read_members(at)) return {};
    if (!read_events_at(at)) return {};
    in_events = false;
  }
}

// Members from `at`; true if events follow, at `at`.
bool DocumentReader::read_members(uint64_t& at) {
  MembersEnd end = MembersEnd::kObjectEnd;
  if (!is_array_) end = scan_members(window_, at, members_);
  if (end == MembersEnd::kEvents) return true;
  if (end != MembersEnd::kObjectEnd && !members_.contains("traceEvents")) {
    const uint64_t broken = at;
    if (find_events_array(window_, at)) {
      members_["traceEvents"] = "[]";
      lose(broken, "metadata that cannot be read");
      return true;
    }
    at = broken;
  }
  if (end == MembersEnd::kDocumentEnd) {
    health_.truncated = true;
    return false;
  }
  // What looked like the end of the array may have been the end of one inside of a broken event.
  const uint64_t stopped = at;
  const std::optional<uint64_t> next = find_event(window_, at);
  if (next || end == MembersEnd::kError) lose(stopped, "text that is neither member nor event");
  at = next.value_or(at);
  return next.has_value();
}

// Events from `at` to the end of their array; false at the end of the document.
bool DocumentReader::read_events_at(uint64_t& at) {
  const ArrayEnd array = read_array(at);
  at = array.stop;
  if (array.end == ChunkEnd::kArrayEnd) {
    ++at;
    return true;
  }
  // Chrome's format allows an array to go without its ']'.
  if (!is_array_ || array.cut_short) health_.truncated = true;
  return false;
}

void DocumentReader::lose(uint64_t offset, std::string reason) {
  ++health_.lost_events;
  if (health_.losses.size() < Health::kLossesListedMax) {
    health_.losses.push_back({.offset = offset, .reason = std::move(reason)});
  }
}

}  // namespace hadal::trace
