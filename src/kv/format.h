// What the embedded store keeps in RocksDB: docs/formats/kv.md, in code.
//
// The first byte of a key says whose it is: 0 the store's own, 1 a user's. The store has two
// records: what format this is, written once, and how far the commits have come, written with every
// batch of them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"
#include "kv/kv.h"

namespace hadal::kv {

inline constexpr uint32_t kFormatVersion = 1;
inline constexpr std::string_view kFormatKey{"\0format", 7};
inline constexpr std::string_view kStateKey{"\0state", 6};
inline constexpr char kUserPrefix = 1;

/// How far the store has come.
struct State {
  Version version = 0;        // of the last batch
  uint64_t transactions = 0;  // that were ever committed and wrote something
  friend bool operator==(const State&, const State&) = default;
};

std::string encode_format();
/// kCorrupt; kUnsupported for a version that is not kFormatVersion.
Result<> decode_format(std::string_view bytes);
std::string encode_state(const State& state);
Result<State> decode_state(std::string_view bytes);

/// The key in RocksDB of a user's key, and of a bound of a range.
std::string stored_key(std::string_view key);
/// kCorrupt for a stored row that can be neither a user's nor the store's.
Result<> check_row(std::string_view key, std::string_view value);

}  // namespace hadal::kv
