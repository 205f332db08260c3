#include "trace/copy_events.h"

#include <algorithm>

#include <fmt/core.h>

namespace hadal::trace {

DocumentReader::ArrayEnd EventPass::read_array(uint64_t at) {
  for (;;) {
    window_.discard_before(at);
    window_.grow(kReadBytes);
    const uint64_t boundary = std::max(window_.end_offset(), at + 1);
    const WalkEnd end = walk_events(window_, at, boundary, parser_, *this);
    at = end.stop;
    if (end.end != ChunkEnd::kNext) {
      return {.stop = end.stop, .end = end.end, .cut_short = end.cut_short};
    }
  }
}

void TraceWriter::append(std::string_view text) {
  if (error_) return;
  Result<> appended = output_->append(text);
  if (!appended) error_ = std::move(appended).error();
}

void TraceWriter::member(std::string_view key, std::string_view value) {
  if (key == "traceEvents" || written_.contains(key)) return;
  append(written_.empty() && !in_events_ ? "{\n" : ",\n");
  append(fmt::format("  \"{}\": {}", key, value));
  written_.emplace(key);
}

void TraceWriter::members(const Members& members) {
  for (const auto& [key, value] : members) member(key, value);
}

void TraceWriter::begin_events() {
  if (in_events_) return;
  append(written_.empty() ? "{\n" : ",\n");
  append("  \"traceEvents\": [");
  in_events_ = true;
}

void TraceWriter::event(std::string_view text) {
  begin_events();
  append(num_events_++ == 0 ? "\n  " : ",\n  ");
  append(text);
}

Result<> TraceWriter::finish(const Members& last) {
  begin_events();
  append("\n  ]");
  members(last);
  append("\n}\n");
  if (error_) return std::unexpected(std::move(*error_));
  return output_->finish();
}

std::string Edits::apply(std::string_view text) {
  std::ranges::sort(edits_, {}, [](const auto& e) { return e.first.data(); });
  std::string out;
  for (const auto& [part, by] : edits_) {
    const auto before = static_cast<size_t>(part.data() - text.data());
    out.append(text.substr(0, before)).append(by);
    text.remove_prefix(before + part.size());
  }
  return out.append(text);
}

std::string time_text(int64_t ns) {
  const uint64_t size = ns < 0 ? 0 - static_cast<uint64_t>(ns) : static_cast<uint64_t>(ns);
  std::string text = fmt::format("{}{}", ns < 0 ? "-" : "", size / 1000);
  if (size % 1000 != 0) text += fmt::format(".{:03}", size % 1000);
  return text;
}

}  // namespace hadal::trace
