// Any bytes are an error or a record that encodes to the same bytes.
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "kv/format.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hadal::kv;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto state = decode_state(bytes)) CHECK(encode_state(*state) == bytes);
  if (decode_format(bytes)) CHECK(encode_format() == bytes);
  const size_t half = size / 2;
  const auto row = check_row(bytes.substr(0, half), bytes.substr(half));
  if (row && half > 0 && bytes[0] == kUserPrefix) CHECK(bytes.substr(1, half - 1) < kKeyEnd);
  // With a checksum that fits, what is inside is looked at.
  std::string with_crc = encode_state({size, size});
  if (size >= 16) with_crc.replace(0, 16, bytes.substr(0, 16));
  if (const auto state = decode_state(with_crc)) CHECK(encode_state(*state) == with_crc);
  return 0;
}
