#include "trace/event_parser.h"

#include "trace/scan.h"

namespace hadal::trace {
namespace {

// A tree of hostile layouts stops growing here, and the parser proper does the rest.
constexpr size_t kNodesMax = 4096;
constexpr int kSiblingsMax = 12;
constexpr size_t kLiteralMax = 256;
constexpr size_t kValuesMax = 128;

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

// The bytes of numbers and of bare words (true, null, inf).
constexpr std::array<bool, 256> kIsWord = [] {
  std::array<bool, 256> is{};
  for (int c = '0'; c <= '9'; ++c) is[c] = true;
  for (int c = 'a'; c <= 'z'; ++c) is[c] = is[c - 'a' + 'A'] = true;
  for (const char c : {'-', '+', '.', '_'}) is[c] = true;
  return is;
}();

const char* word_end(const char* p) {
  while (kIsWord[static_cast<unsigned char>(*p)]) ++p;
  return p;
}

// Does the text at `p` begin with `literal`? Reads whole blocks of both.
bool begins_with(const char* p, const char* literal, uint32_t size) {
  for (;; p += 16, literal += 16, size -= 16) {
    const uint32_t same = Scan16(p).same(Scan16(literal));
    if (size <= 16) return (~same & ((uint32_t{1} << size) - 1)) == 0;
    if (same != 0xffff) return false;
  }
}

}  // namespace

class EventParser::Parser {
 public:
  Parser(const char* p, const char* end, RawEvent& event, std::vector<Value>& values)
      : p_(p), end_(end), event_(event), values_(values) {}

  ParseResult run() {
    event_.seen = 0;
    values_.clear();
    if (!object(/*is_args=*/false)) {
      return {p_ >= end_ ? Parsed::kNeedsMore : Parsed::kError, p_, reason_};
    }
    const std::string_view phase = event_[Field::kPhase];
    event_.phase = phase.size() == 1 ? phase[0] : '\0';
    event_.category = category_of(event_[Field::kCategory]);
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
    const Field field = is_args ? find_field(kArgKeys, key) : find_field(kEventKeys, key);
    const char* begin = p_;
    std::string_view text;
    Kind kind = Kind::kWord;
    if (*p_ == '"') {
      kind = Kind::kString;
      if (!string(text)) return false;
    } else if (*p_ == '{' || *p_ == '[') {
      kind = Kind::kContainer;
      const char* const after = container_end(p_, end_);
      if (after == nullptr) return needs_more();
      p_ = after;
      text = {begin, static_cast<size_t>(p_ - begin)};
    } else {
      p_ = word_end(p_);
      if (p_ == begin && *p_ != ',' && *p_ != '}') return error("a value was expected");
      text = {begin, static_cast<size_t>(p_ - begin)};
    }
    event_.fields[static_cast<size_t>(field)] = text;
    event_.seen |= uint64_t{1} << static_cast<int>(field);
    if (values_.size() <= kValuesMax) {
      values_.push_back({text.data(), text.data() + text.size(), kind, field});
    }
    return true;
  }

  const char* p_;
  const char* const end_;
  RawEvent& event_;
  std::vector<Value>& values_;
  const char* reason_ = "";
};

EventParser::EventParser() : nodes_(1) {}

const char* EventParser::match(const char* p, const char* end, RawEvent& event) const {
  const Node* const nodes = nodes_.data();
  for (uint32_t n = nodes->child; n != 0;) {
    const Node& node = nodes[n];
    n = node.sibling;
    if (end - p < static_cast<int64_t>(node.size)) continue;
    if (!begins_with(p, node.literal.get(), node.size)) continue;
    const char* const begin = p + node.size;
    const char* after = nullptr;
    switch (node.kind) {
      case Kind::kString: after = string_end(begin, end); break;
      case Kind::kWord:
        after = word_end(begin);
        if (after == begin) continue;  // a value of another kind
        break;
      case Kind::kContainer:
        if (*begin != '[' && *begin != '{') continue;
        after = container_end(begin, end);
        break;
      case Kind::kEnd:
        event.phase = node.phase;
        event.category = node.category;
        event.seen = node.seen;
        return begin;
    }
    if (after == nullptr) return nullptr;
    event.fields[static_cast<size_t>(node.field)] = {begin, static_cast<size_t>(after - begin)};
    p = after;
    n = node.child;
  }
  return nullptr;
}

ParseResult EventParser::parse_unknown(const char* p, const char* end, RawEvent& event) {
  const ParseResult result = Parser(p, end, event, values_).run();
  if (result.state == Parsed::kWhole) learn(p, result.at, event);
  return result;
}

ParseResult EventParser::parse_alone(const char* p, const char* end, RawEvent& event) {
  std::vector<Value> values;
  return Parser(p, end, event, values).run();
}

void EventParser::learn(const char* p, const char* after, const RawEvent& event) {
  if (values_.size() > kValuesMax) return;
  // Few values, so part of the layout. Where they are no strings the event is not worth learning.
  for (const Value& v : values_) {
    const bool fixed = v.field == Field::kPhase || v.field == Field::kCategory;
    if (fixed && v.kind != Kind::kString) return;
  }
  std::erase_if(values_, [](const Value& v) {
    return v.field == Field::kPhase || v.field == Field::kCategory;
  });
  values_.push_back({after, after, Kind::kEnd, Field::kNone});
  uint32_t parent = 0;
  for (const Value& v : values_) {
    const auto size = static_cast<size_t>(v.begin - p);
    if (size > kLiteralMax || nodes_.size() >= kNodesMax) return;
    uint32_t n = nodes_[parent].child;
    int siblings = 0;
    for (; n != 0; n = nodes_[n].sibling, ++siblings) {
      const Node& node = nodes_[n];
      if (node.kind == v.kind && node.field == v.field && node.size == size &&
          std::memcmp(node.literal.get(), p, size) == 0) {
        break;
      }
    }
    if (n == 0) {
      if (siblings >= kSiblingsMax) return;
      Node node;
      node.literal = std::make_unique<char[]>((size + 15) / 16 * 16 + 16);
      std::memcpy(node.literal.get(), p, size);
      node.size = static_cast<uint32_t>(size);
      node.kind = v.kind;
      node.field = v.field;
      node.phase = event.phase;
      node.category = event.category;
      node.seen = event.seen;
      node.sibling = nodes_[parent].child;
      n = static_cast<uint32_t>(nodes_.size());
      nodes_.push_back(std::move(node));
      nodes_[parent].child = n;
    }
    parent = n;
    p = v.end;
  }
}

}  // namespace hadal::trace
