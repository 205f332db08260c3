// What cut() and merge() share: a pass over the events of a document in order, and the writing of a
// document whose events are texts.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trace/document_reader.h"
#include "trace/output.h"

namespace hadal::trace {

/// Reads a document in order and hands out its events. Lost ones are passed over: load() counts
/// them.
class EventPass : public DocumentReader, public EventSink {
 public:
  EventPass(Source& source, const std::string& path) : DocumentReader(source, path) {}
  void lose(uint64_t, const char*) override {}

 protected:
  ArrayEnd read_array(uint64_t at) override;
  EventParser parser_;
};

/// Writes {members, "traceEvents": [...], more members}. An error of the file is kept until
/// finish().
class TraceWriter {
 public:
  explicit TraceWriter(std::unique_ptr<Output> output) : output_(std::move(output)) {}

  /// Before the events: each member that has not been written; `value` is JSON.
  void member(std::string_view key, std::string_view value);
  void members(const Members& members);
  void event(std::string_view text);
  /// Ends the array, writes `last`, ends the document.
  Result<> finish(const Members& last);
  uint64_t num_events() const { return num_events_; }

 private:
  void append(std::string_view text);
  void begin_events();

  std::unique_ptr<Output> output_;
  std::optional<Error> error_;
  std::set<std::string, std::less<>> written_;
  bool in_events_ = false;
  uint64_t num_events_ = 0;
};

/// A text with some of its parts replaced.
class Edits {
 public:
  /// `part` is a view into the text; parts do not overlap.
  void replace(std::string_view part, std::string by) { edits_.emplace_back(part, std::move(by)); }
  std::string apply(std::string_view text);

 private:
  std::vector<std::pair<std::string_view, std::string>> edits_;
};

/// Does the value stand between quotes in its event?
inline bool is_quoted(std::string_view value) {
  return value.data()[-1] == '"';
}

/// Nanoseconds as the decimal microseconds of a trace.
std::string time_text(int64_t ns);

}  // namespace hadal::trace
