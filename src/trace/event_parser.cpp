#include "trace/event_parser.h"

#include "trace/scan.h"

namespace hadal::trace {
namespace {

struct Key {
  std::string_view text;
  Field field;
};

constexpr Key kEventKeys[] = {
    {"ph", Field::kPhase}, {"cat", Field::kCategory}, {"name", Field::kName}, {"ts", Field::kTs},
    {"dur", Field::kDur},  {"pid", Field::kPid},      {"tid", Field::kTid},   {"id", Field::kId},
};

constexpr Key kArgKeys[] = {
    {"correlation", Field::kCorrelation},
    {"device", Field::kDevice},
    {"stream", Field::kStream},
    {"registers per thread", Field::kRegisters},
    {"shared memory", Field::kSharedMemory},
    {"grid", Field::kGrid},
    {"block", Field::kBlock},
    {"est. achieved occupancy %", Field::kOccupancy},
    {"bytes", Field::kBytes},
    {"memory bandwidth (GB/s)", Field::kBandwidth},
    {"Sequence number", Field::kSequence},
    {"wait_on_cuda_event_record_corr_id", Field::kWaitCorrelation},
    {"name", Field::kMetaName},
    {"sort_index", Field::kSortIndex},
    {"Collective name", Field::kCollective},
    {"dtype", Field::kDtype},
    {"In msg nelems", Field::kInElements},
    {"Out msg nelems", Field::kOutElements},
    {"Group size", Field::kGroupSize},
    {"Process Group Name", Field::kGroupName},
    {"Process Group Description", Field::kGroupDescription},
    {"Process Group Ranks", Field::kGroupRanks},
    {"Seq", Field::kCollectiveSequence},
    {"occupancy", Field::kOccupancyDetail},
    // What older profilers called them.
    {"Device", Field::kDevice},
    {"Stream", Field::kStream},
    {"Correlation", Field::kCorrelation},
    {"occupancy %", Field::kOccupancy},
};

template <size_t N>
Field find_field(const Key (&keys)[N], std::string_view text) {
  for (const Key& key : keys) {
    if (key.text == text) return key.field;
  }
  return Field::kNone;
}

bool is_word(char c) {
  return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '-' ||
         c == '+' || c == '.' || c == '_';
}

class Parser {
 public:
  Parser(const char* p, const char* end, RawEvent& event) : p_(p), end_(end), event_(event) {}

  ParseResult run() {
    if (!object(/*is_args=*/false))
      return {p_ >= end_ ? Parsed::kNeedsMore : Parsed::kError, p_, reason_};
    return {Parsed::kWhole, p_, ""};
  }

 private:
  bool error(const char* reason) {
    reason_ = reason;
    return false;
  }
  bool needs_more() {
    p_ = end_;
    return false;
  }

  // From '{' to after '}'.
  bool object(bool is_args) {
    ++p_;
    for (;;) {
      p_ = skip_blanks(p_);
      if (*p_ == ',') {
        ++p_;
        continue;
      }
      if (p_ >= end_) return false;
      if (*p_ == '}') {
        ++p_;
        return true;
      }
      if (*p_ != '"') return error("a key was expected");
      std::string_view key;
      if (!string(key)) return false;
      p_ = skip_blanks(p_);
      if (*p_ != ':') return error("a colon was expected after a key");
      p_ = skip_blanks(p_ + 1);
      if (!value(key, is_args)) return false;
      p_ = skip_blanks(p_);
      if (*p_ != ',' && *p_ != '}') return error("a comma was expected after a value");
    }
  }

  // From the opening quote to after the closing one.
  bool string(std::string_view& text) {
    const char* const begin = p_ + 1;
    const char* const close = string_end(begin, end_);
    if (close == nullptr) return needs_more();
    text = {begin, static_cast<size_t>(close - begin)};
    p_ = close + 1;
    return true;
  }

  bool value(std::string_view key, bool is_args) {
    if (*p_ == '{' && !is_args && key == "args") return object(/*is_args=*/true);
    const char* const begin = p_;
    std::string_view text;
    if (*p_ == '"') {
      if (!string(text)) return false;
    } else if (*p_ == '{' || *p_ == '[') {
      const char* const after = container_end(p_, end_);
      if (after == nullptr) return needs_more();
      p_ = after;
      text = {begin, static_cast<size_t>(p_ - begin)};
    } else {
      while (is_word(*p_)) ++p_;
      if (p_ == begin && *p_ != ',' && *p_ != '}') return error("a value was expected");
      text = {begin, static_cast<size_t>(p_ - begin)};
    }
    const Field field = is_args ? find_field(kArgKeys, key) : find_field(kEventKeys, key);
    if (field != Field::kNone) event_.set(field, text);
    return true;
  }

  const char* p_;
  const char* const end_;
  RawEvent& event_;
  const char* reason_ = "";
};

}  // namespace

ParseResult parse_event(const char* p, const char* end, RawEvent& event) {
  event.seen = 0;
  return Parser(p, end, event).run();
}

}  // namespace hadal::trace
