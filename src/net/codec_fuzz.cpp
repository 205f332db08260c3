// Decodes arbitrary bytes as each type of message in turn.
#include <cstdint>
#include <span>

#include "net/test_messages.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  hadal::net::TestMessages::fuzz(std::as_bytes(std::span(data, size)));
  return 0;
}
