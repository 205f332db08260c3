// The language of query.h.
#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/core.h>

#include "trace/query.h"
#include "trace/units.h"

namespace hadal::trace {
namespace {

constexpr int kDepthMax = 100;

enum class Type : uint8_t { kText, kNumber, kTime };
struct FieldWord {
  std::string_view word;
  QueryField field;
  Type type;
};
constexpr FieldWord kFields[] = {
    {"name", QueryField::kName, Type::kText},
    {"cat", QueryField::kCategory, Type::kText},
    {"track", QueryField::kTrack, Type::kText},
    {"thread", QueryField::kThread, Type::kText},
    {"process", QueryField::kProcess, Type::kText},
    {"class", QueryField::kClass, Type::kText},
    {"role", QueryField::kRole, Type::kText},
    {"region", QueryField::kRegion, Type::kText},
    {"stream", QueryField::kStream, Type::kNumber},
    {"device", QueryField::kDevice, Type::kNumber},
    {"corr", QueryField::kCorrelation, Type::kNumber},
    {"id", QueryField::kId, Type::kNumber},
    {"rank", QueryField::kRank, Type::kNumber},
    {"blocks", QueryField::kBlocks, Type::kNumber},
    {"regs", QueryField::kRegisters, Type::kNumber},
    {"smem", QueryField::kSharedMemory, Type::kNumber},
    {"bytes", QueryField::kBytes, Type::kNumber},
    {"start", QueryField::kStart, Type::kTime},
    {"end", QueryField::kEnd, Type::kTime},
    {"dur", QueryField::kDuration, Type::kTime},
    {"delay", QueryField::kDelay, Type::kTime},
};
struct OperatorWord {
  std::string_view word;
  QueryOperator op;
};
// Longer ones first.
constexpr OperatorWord kOperators[] = {
    {"!=", QueryOperator::kNotEqual},  {"!~", QueryOperator::kNotLike},
    {"<=", QueryOperator::kLessEqual}, {">=", QueryOperator::kMoreEqual},
    {"=", QueryOperator::kEqual},      {"~", QueryOperator::kLike},
    {"<", QueryOperator::kLess},       {">", QueryOperator::kMore},
};

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}
bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

std::string all_fields() {
  std::string text;
  for (const FieldWord& field : kFields) {
    text += fmt::format("{}{}", text.empty() ? "" : ", ", field.word);
  }
  return text;
}

/// The values that a field of a closed set may have; empty for the others.
std::vector<std::string_view> values_of(QueryField field) {
  std::vector<std::string_view> values;
  if (field == QueryField::kCategory) {
    for (int c = 0; c < kNumCategories; ++c) values.push_back(name(static_cast<Category>(c)));
  } else if (field == QueryField::kClass) {
    for (const Class c : {Class::kCompute, Class::kCommunication, Class::kMemory}) {
      values.push_back(name(c));
    }
  } else if (field == QueryField::kRole) {
    for (const Role r : {Role::kNone, Role::kTransfer, Role::kBarrier, Role::kLayout}) {
      values.push_back(name(r));
    }
  }
  return values;
}

/// Recursive descent; `depth` bounds the recursion.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<Query> parse() {
    skip_blanks();
    if (done()) return std::move(query_);
    TRY(any(0));
    if (!done()) return wrong(at_, "this ) closes nothing");
    return std::move(query_);
  }

 private:
  bool done() const { return at_ >= text_.size(); }
  void skip_blanks() {
    while (!done() && is_blank(text_[at_])) ++at_;
  }
  std::unexpected<Error> wrong(size_t at, const std::string& what) const {
    return fail(Code::kInvalidArgument,
                fmt::format("the query \"{}\" is wrong at character {}: {}", text_, at + 1, what));
  }
  std::string_view peek_word() const {
    size_t end = at_;
    while (end < text_.size() && is_letter(text_[end])) ++end;
    return text_.substr(at_, end - at_);
  }
  /// Takes a keyword, if it stands here as a word of its own.
  bool take(std::string_view keyword) {
    const size_t after = at_ + keyword.size();
    if (peek_word() != keyword) return false;
    if (after < text_.size() && !is_blank(text_[after]) && text_[after] != '(') return false;
    at_ = after;
    skip_blanks();
    return true;
  }
  void push(Query::Kind kind) {
    Query::Node node;
    node.kind = kind;
    query_.nodes.push_back(std::move(node));
  }

  Result<> any(int depth) {
    TRY(all(depth));
    while (take("or")) {
      TRY(all(depth));
      push(Query::Kind::kOr);
    }
    return {};
  }

  Result<> all(int depth) {
    TRY(one(depth));
    while (!done() && text_[at_] != ')' && peek_word() != "or") {
      take("and");
      TRY(one(depth));
      push(Query::Kind::kAnd);
    }
    return {};
  }

  Result<> one(int depth) {
    if (depth > kDepthMax) return wrong(at_, "more than 100 levels of not and parentheses");
    if (done()) return wrong(at_, "a condition is missing; it must be like dur>1ms");
    if (take("not")) {
      TRY(one(depth + 1));
      push(Query::Kind::kNot);
      return {};
    }
    if (text_[at_] != '(') return condition();
    const size_t opened = at_++;
    skip_blanks();
    TRY(any(depth + 1));
    if (done()) return wrong(opened, "this ( is not closed");
    ++at_;  // any() stops at ) or at the end only
    skip_blanks();
    return {};
  }

  Result<> condition() {
    const size_t began = at_;
    const std::string_view word = peek_word();
    const auto* const field = std::ranges::find(kFields, word, &FieldWord::word);
    if (field == std::end(kFields)) {
      return wrong(began,
                   word.empty()
                       ? fmt::format("a condition must begin with a field ({})", all_fields())
                       : fmt::format("\"{}\" is no field; fields are {}", word, all_fields()));
    }
    at_ += word.size();
    skip_blanks();
    const auto* const op = std::ranges::find_if(
        kOperators, [&](const OperatorWord& o) { return text_.substr(at_).starts_with(o.word); });
    if (op == std::end(kOperators)) {
      return wrong(at_, fmt::format("\"{}\" needs an operator: = != {}", word,
                                    field->type == Type::kText ? "~ !~" : "< <= > >="));
    }
    const bool like = op->op == QueryOperator::kLike || op->op == QueryOperator::kNotLike;
    const bool order = op->op >= QueryOperator::kLess && op->op <= QueryOperator::kMoreEqual;
    if (field->type == Type::kText ? order : like) {
      return wrong(at_, fmt::format("\"{}\" cannot be compared by {}; it takes = != {}", word,
                                    op->word, field->type == Type::kText ? "~ !~" : "< <= > >="));
    }
    at_ += op->word.size();
    skip_blanks();
    const size_t value_at = at_;
    Query::Node node{.field = field->field, .op = op->op, .text = TRY(value())};
    TRY(check(*field, value_at, node));
    query_.nodes.push_back(std::move(node));
    skip_blanks();
    return {};
  }

  /// A quoted value, or one that ends at a blank or at a parenthesis that it did not open.
  Result<std::string> value() {
    const size_t began = at_;
    if (!done() && (text_[at_] == '"' || text_[at_] == '\'')) {
      const size_t end = text_.find(text_[at_], at_ + 1);
      if (end == text_.npos) return wrong(began, "this quote is not closed");
      at_ = end + 1;
      return std::string(text_.substr(began + 1, end - began - 1));
    }
    for (int open = 0; !done() && !is_blank(text_[at_]); ++at_) {
      if (text_[at_] == '(') ++open;
      if (text_[at_] == ')' && open-- == 0) break;
    }
    if (at_ == began) return wrong(began, "a value is missing");
    return std::string(text_.substr(began, at_ - began));
  }

  Result<> check(const FieldWord& field, size_t at, Query::Node& node) const {
    if (field.type == Type::kText) {
      const std::vector<std::string_view> values = values_of(field.field);
      const bool exact = node.op == QueryOperator::kEqual || node.op == QueryOperator::kNotEqual;
      if (!exact || values.empty() || std::ranges::count(values, node.text) > 0) return {};
      std::string allowed;
      for (const std::string_view v : values) allowed += fmt::format(" {}", v);
      return wrong(
          at, fmt::format("\"{}\" is no {}; it must be one of{}", node.text, field.word, allowed));
    }
    if (field.type == Type::kTime) {
      const auto time = parse_duration(node.text);
      if (!time) {
        return wrong(at, fmt::format("\"{}\" is no time; it must be a number with ns, us, ms or s",
                                     node.text));
      }
      node.number = static_cast<double>(*time);
      return {};
    }
    const auto number = parse_number(node.text);
    if (!number) {
      return wrong(at,
                   fmt::format("\"{}\" is no number; sizes may have KB, MB, GB, KiB, MiB or GiB",
                               node.text));
    }
    node.number = *number;
    return {};
  }

  std::string_view text_;
  size_t at_ = 0;
  Query query_;
};

}  // namespace

Result<Query> parse_query(std::string_view text) {
  return Parser(text).parse();
}

}  // namespace hadal::trace
