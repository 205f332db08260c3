#include "trace/text.h"

#include <algorithm>
#include <array>

namespace hadal::trace {
namespace {

constexpr char32_t kReplacement = 0xfffd;

void append_utf8(std::string& out, char32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xc0 | c >> 6);
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    out += static_cast<char>(0xe0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3f));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
    out += static_cast<char>(0x80 | (c & 0x3f));
  }
}

bool is_control(char32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0);
}

// A control character as it is shown.
char32_t shown(char32_t c) {
  if (c == '\t' || c == '\n' || c == '\r') return ' ';
  return is_control(c) ? kReplacement : c;
}

// The character at the front of `text`, which is removed; its first byte alone where the bytes are
// no UTF-8 (too long forms, surrogates and values beyond U+10FFFF are none).
char32_t take_utf8(std::string_view& text, bool& valid) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(0);
  const size_t size = lead < 0x80   ? 1
                      : lead < 0xc2 ? 0
                      : lead < 0xe0 ? 2
                      : lead < 0xf0 ? 3
                      : lead < 0xf5 ? 4
                                    : 0;
  valid = size != 0 && size <= text.size();
  char32_t c = size == 1 ? lead : lead & (0x7fU >> size);
  for (size_t i = 1; valid && i < size; ++i) {
    valid = (byte(i) & 0xc0) == 0x80;
    c = c << 6 | (byte(i) & 0x3f);
  }
  if (valid && size == 3) valid = c >= 0x800 && (c < 0xd800 || c > 0xdfff);
  if (valid && size == 4) valid = c >= 0x10000 && c <= 0x10ffff;
  text.remove_prefix(valid ? size : 1);
  return valid ? c : kReplacement;
}

// The four hexadecimal digits at the front of `text`; -1 if they are none.
int take_hex4(std::string_view& text) {
  if (text.size() < 4) return -1;
  int value = 0;
  for (size_t i = 0; i < 4; ++i) {
    const char c = text[i];
    const char lower = static_cast<char>(c | 0x20);
    const int digit = c >= '0' && c <= '9'           ? c - '0'
                      : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10
                                                     : -1;
    if (digit < 0) return -1;
    value = value * 16 + digit;
  }
  text.remove_prefix(4);
  return value;
}

// What follows "\u"; joins a surrogate with its other half.
char32_t take_unicode_escape(std::string_view& text, bool& valid) {
  const int high = take_hex4(text);
  valid = high >= 0 && (high < 0xd800 || high > 0xdfff);
  if (valid) return static_cast<char32_t>(high);
  if (high < 0 || high >= 0xdc00 || !text.starts_with("\\u")) return kReplacement;
  std::string_view rest = text.substr(2);
  const int low = take_hex4(rest);
  if (low < 0xdc00 || low > 0xdfff) return kReplacement;
  text = rest;
  valid = true;
  return static_cast<char32_t>(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
}

// What follows a backslash.
char32_t take_escape(std::string_view& text, bool& valid) {
  valid = !text.empty();
  if (!valid) return kReplacement;
  const char c = text.front();
  if (c == 'u') {
    text.remove_prefix(1);
    return take_unicode_escape(text, valid);
  }
  constexpr std::string_view kFrom = "\"\\/bfnrt", kTo = "\"\\/\b\f\n\r\t";
  const size_t at = kFrom.find(c);
  valid = at != std::string_view::npos;
  if (!valid) return '\\';  // a Windows path: the backslash was meant; what follows stays
  text.remove_prefix(1);
  return static_cast<char32_t>(kTo[at]);
}

}  // namespace

std::string clean_text(std::string_view raw, uint64_t& replaced) {
  const bool plain =
      std::ranges::all_of(raw, [](char c) { return c >= 0x20 && c < 0x7f && c != '\\'; });
  if (plain) return std::string(raw);
  std::string out;
  out.reserve(raw.size());
  while (!raw.empty()) {
    bool valid = true;
    char32_t c;
    if (raw.front() == '\\') {
      raw.remove_prefix(1);
      c = take_escape(raw, valid);
    } else {
      c = take_utf8(raw, valid);
      valid = valid && c >= 0x20;
    }
    replaced += valid ? 0 : 1;
    append_utf8(out, shown(c));
  }
  return out;
}

}  // namespace hadal::trace
