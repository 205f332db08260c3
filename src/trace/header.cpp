#include "trace/header.h"

#include <algorithm>
#include <optional>

#include <nlohmann/json.hpp>

#include "trace/chunk.h"
#include "trace/number.h"
#include "trace/scan.h"
#include "trace/text.h"

namespace hadal::trace {
namespace {

using Object = nlohmann::json;

constexpr uint64_t kMemberBytesMax = uint64_t{4} << 20;
// traceEvents is looked for in this much.
constexpr uint64_t kHeaderBytesMax = uint64_t{64} << 20;

// One member: key, colon, value. `value_is_open` if it is the array of events, whose content stays.
struct Member {
  std::string_view key, value;
  const char* after = nullptr;  // null: the text ends before
  bool is_events = false, is_error = false;
};

Member parse_member(const char* p, const char* end) {
  Member m;
  const char* const close = string_end(p + 1, end);
  if (close == nullptr) return m;
  m.key = {p + 1, static_cast<size_t>(close - p - 1)};
  p = skip_blanks(close + 1);
  if (p >= end) return m;
  m.after = p;
  m.is_error = *p != ':';
  if (m.is_error) return m;
  m.after = nullptr;
  p = skip_blanks(p + 1);
  if (p >= end) return m;
  if (*p == '[' && m.key == "traceEvents") {
    m.is_events = true;
    m.after = p + 1;
    return m;
  }
  const char* after = p;
  if (*p == '[' || *p == '{') {
    after = container_end(p, end);
  } else if (*p == '"') {
    after = string_end(p + 1, end);
    after = after == nullptr ? nullptr : after + 1;
  } else {
    while (after < end && *after != ',' && *after != '}' && *after != ']' && *after != '"' &&
           static_cast<unsigned char>(*after) > ' ') {
      ++after;
    }
    if (after == end) after = nullptr;
  }
  if (after == nullptr) return m;
  m.value = {p, static_cast<size_t>(after - p)};
  m.after = after;
  return m;
}

Object parse(const Members& members, std::string_view key) {
  const auto found = members.find(key);
  if (found == members.end()) return {};
  // The writer's own malformations (NULs, invalid UTF-8) would cost the whole member.
  return Object::parse(found->second, nullptr, /*allow_exceptions=*/false);
}

std::string text_of(const Object& value) {
  uint64_t replaced = 0;
  if (!value.is_string()) return {};
  std::string raw = value.dump(-1, ' ', false, Object::error_handler_t::replace);
  return clean_text(std::string_view(raw).substr(1, raw.size() - 2), replaced);
}

// An integer, whether written as number, real or text.
std::optional<int64_t> integer_of(const Object& value) {
  if (value.is_string()) return parse_integer(value.get_ref<const std::string&>());
  if (!value.is_number()) return {};
  return parse_integer(value.dump());
}

int64_t field(const Object& object, const char* key, int64_t otherwise) {
  const auto found = object.find(key);
  return found == object.end() ? otherwise : integer_of(*found).value_or(otherwise);
}

int int_field(const Object& object, const char* key, int otherwise) {
  return static_cast<int>(std::clamp<int64_t>(field(object, key, otherwise), INT32_MIN, INT32_MAX));
}

Device device_of(const Object& d) {
  Device device;
  device.id = int_field(d, "id", 0);
  if (const auto name = d.find("name"); name != d.end()) device.name = text_of(*name);
  device.compute_major = int_field(d, "computeMajor", 0);
  device.compute_minor = int_field(d, "computeMinor", 0);
  device.num_sms = int_field(d, "numSms", 0);
  device.warp_size = int_field(d, "warpSize", 32);
  device.threads_per_block_max = int_field(d, "maxThreadsPerBlock", 0);
  device.threads_per_sm_max =
      int_field(d, "maxThreadsPerMultiprocessor", int_field(d, "maxThreadsPerMultiProcessor", 0));
  device.registers_per_sm = field(d, "regsPerMultiprocessor", 0);
  device.shared_memory_per_block = field(d, "sharedMemPerBlock", 0);
  device.shared_memory_per_block_optin =
      field(d, "sharedMemPerBlockOptin", device.shared_memory_per_block);
  device.shared_memory_per_sm = field(d, "sharedMemPerMultiprocessor", 0);
  device.memory_bytes = field(d, "totalGlobalMem", 0);
  return device;
}

bool is_letter(char c) {
  return c >= 'a' && c <= 'z';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// "ep64_tp1" gives ep 64 and tp 1: letters and then digits, both as long as they go.
std::vector<Hint> hints_of(std::string_view name) {
  std::vector<Hint> hints;
  for (size_t i = 0; i < name.size();) {
    const size_t begin = i;
    while (i < name.size() && is_letter(name[i])) ++i;
    const size_t digits = i;
    while (i < name.size() && is_digit(name[i])) ++i;
    if (digits > begin && i > digits) {
      const std::optional<int64_t> value = parse_integer(name.substr(digits, i - digits));
      if (value) hints.push_back({std::string(name.substr(begin, digits - begin)), *value});
    }
    if (i == begin) ++i;
  }
  return hints;
}

}  // namespace

MembersEnd scan_members(TextWindow& window, uint64_t& offset, Members& members) {
  const uint64_t first = offset;
  for (;;) {
    if (!skip_separators(window, offset)) return MembersEnd::kDocumentEnd;
    const char* p = window.at(offset);
    if (*p == '}') {
      ++offset;
      return MembersEnd::kObjectEnd;
    }
    if (*p != '"') return MembersEnd::kError;
    const Member m = parse_member(p, window.end());
    if (m.after == nullptr) {
      const uint64_t have = window.end_offset() - offset;
      if (window.end_offset() - first > kHeaderBytesMax) return MembersEnd::kError;
      if (!window.grow(std::max<uint64_t>(have, kReadBytes))) return MembersEnd::kDocumentEnd;
      continue;
    }
    offset = window.offset_of(m.after);
    if (m.is_error) return MembersEnd::kError;
    if (m.is_events) {
      members["traceEvents"] = "[]";
      return MembersEnd::kEvents;
    }
    if (m.value.size() <= kMemberBytesMax) members[std::string(m.key)] = std::string(m.value);
  }
}

bool find_events_array(TextWindow& window, uint64_t& offset) {
  constexpr std::string_view kKey = "\"traceEvents\"";
  const uint64_t first = offset;
  for (;;) {
    std::string_view text(window.at(offset), window.end());
    for (size_t at = text.find(kKey); at != text.npos; at = text.find(kKey, at + 1)) {
      const char* p = skip_blanks(text.data() + at + kKey.size());
      if (*p == ':') p = skip_blanks(p + 1);
      if (*p != '[') continue;
      offset = window.offset_of(p) + 1;
      return true;
    }
    // The key may be half read: its last bytes are looked at again.
    offset = std::max(offset, window.end_offset() - std::min<uint64_t>(window.end_offset(), 64));
    if (window.end_offset() - first > kHeaderBytesMax || !window.grow(kReadBytes)) return false;
  }
}

void apply_members(const Members& members, Trace& trace) {
  const Object devices = parse(members, "deviceProperties");
  if (devices.is_array()) {
    for (const Object& d : devices) {
      if (d.is_object()) trace.devices.push_back(device_of(d));
    }
  }
  const Object distributed = parse(members, "distributedInfo");
  if (distributed.is_object()) {
    trace.rank = std::max(int_field(distributed, "rank", -1), -1);
    trace.world_size = std::max(int_field(distributed, "world_size", -1), -1);
    if (const auto b = distributed.find("backend"); b != distributed.end()) {
      trace.backend = text_of(*b);
    }
  }
  trace.trace_name = text_of(parse(members, "traceName"));
  trace.base_ns = std::clamp(integer_of(parse(members, "baseTimeNanoseconds")).value_or(0),
                             -kTimeMaxNs, kTimeMaxNs);
  std::string_view stem = trace.trace_name;
  stem = stem.substr(stem.rfind('/') + 1);
  trace.hints = hints_of(stem.substr(0, stem.find('.')));
}

}  // namespace hadal::trace
