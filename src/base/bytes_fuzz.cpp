// Reads arbitrary bytes by an arbitrary script and writes back what was read: as long as the Reader
// says ok, the Writer must reproduce the input byte for byte, since every value has one encoding.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hadal;
  if (size < 1) return 0;
  const size_t script_size = std::min<size_t>(data[0], size - 1);
  const std::span<const uint8_t> script(data + 1, script_size);
  const Bytes input = std::as_bytes(std::span(data, size).subspan(1 + script_size));

  Reader in(input);
  std::vector<std::byte> out;
  Writer w(out);
  for (const uint8_t op : script) {
    const size_t left = in.remaining();
    switch (op % 10) {
      case 0: w.u8(in.u8()); break;
      case 1: w.u16(in.u16()); break;
      case 2: w.u32(in.u32()); break;
      case 3: w.u64(in.u64()); break;
      case 4: w.i64(in.i64()); break;
      case 5: w.u64(std::bit_cast<uint64_t>(in.f64())); break;
      case 6: w.varint(in.varint()); break;
      case 7: w.prefixed(in.prefixed()); break;
      case 8: w.bytes(in.bytes(op)); break;
      case 9: {
        const size_t n = in.count(op / 10 + 1);
        CHECK(n * (op / 10 + 1) <= in.remaining());
        w.varint(n);
        break;
      }
    }
    CHECK(in.remaining() <= left);
    if (!in.ok()) {
      CHECK(in.remaining() == 0 && !in.check("fuzz") && !in.finish("fuzz"));
      return 0;
    }
  }
  CHECK(in.offset() == out.size() && std::ranges::equal(out, input.first(out.size())));
  CHECK(in.finish("fuzz").has_value() == (in.remaining() == 0));
  return 0;
}
