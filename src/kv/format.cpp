#include "kv/format.h"

#include <vector>

#include <fmt/core.h>

#include "base/bytes.h"
#include "base/crc32c.h"

namespace hadal::kv {
namespace {

constexpr std::string_view kMagic = "hadal kv";

std::string with_checksum(std::vector<std::byte> bytes) {
  Writer(bytes).u32(crc32c::value(bytes));
  return std::string(text_of(bytes));
}

/// What is before the checksum.
Result<Bytes> checked(std::string_view record, std::string_view what) {
  const Bytes bytes = bytes_of(record);
  if (bytes.size() < 4) {
    return fail(Code::kCorrupt, fmt::format("{}: {} bytes are too few", what, bytes.size()));
  }
  const Bytes body = bytes.first(bytes.size() - 4);
  if (load_le<uint32_t>(body.data() + body.size()) == crc32c::value(body)) return body;
  return fail(Code::kCorrupt, fmt::format("{}: its checksum is wrong", what));
}

}  // namespace

std::string encode_format() {
  std::vector<std::byte> bytes;
  Writer out(bytes);
  out.bytes(bytes_of(kMagic));
  out.u32(kFormatVersion);
  return with_checksum(std::move(bytes));
}

Result<> decode_format(std::string_view bytes) {
  const Bytes body = TRY(checked(bytes, "the format record"));
  Reader in(body);
  if (text_of(in.bytes(kMagic.size())) != kMagic) in.reject("it does not begin with \"hadal kv\"");
  const uint32_t version = in.u32();
  TRY(in.finish("the format record"));
  if (version == kFormatVersion) return {};
  return fail(Code::kUnsupported, fmt::format("the store has format {}; this program reads {}",
                                              version, kFormatVersion));
}

std::string encode_state(const State& state) {
  std::vector<std::byte> bytes;
  Writer out(bytes);
  out.u64(state.version);
  out.u64(state.transactions);
  return with_checksum(std::move(bytes));
}

Result<State> decode_state(std::string_view bytes) {
  const Bytes body = TRY(checked(bytes, "the state record"));
  Reader in(body);
  State state;
  state.version = in.u64();
  state.transactions = in.u64();
  TRY(in.finish("the state record"));
  return state;
}

std::string stored_key(std::string_view key) {
  std::string stored;
  stored.reserve(key.size() + 1);
  stored.push_back(kUserPrefix);
  stored.append(key);
  return stored;
}

Result<> check_row(std::string_view key, std::string_view value) {
  if (key == kFormatKey) return decode_format(value);
  if (key == kStateKey) {
    TRY(decode_state(value));
    return {};
  }
  if (key.empty() || key[0] != kUserPrefix || key.substr(1) >= kKeyEnd) {
    return fail(Code::kCorrupt, fmt::format("a key {} that nobody can have written", shown(key)));
  }
  if (key.size() <= kKeyBytesMax + 1 && value.size() <= kValueBytesMax) return {};
  return fail(Code::kCorrupt, fmt::format("{}: a key of {} and a value of {} bytes, over the limit",
                                          shown(key), key.size() - 1, value.size()));
}

}  // namespace hadal::kv
