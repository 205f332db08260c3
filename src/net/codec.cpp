#include "net/codec.h"

#include <fmt/core.h>

namespace hadal::net {

Result<> Encoder::broken(std::string_view what, Broken broken) {
  return fail(Code::kInvalidArgument,
              fmt::format("{}: a field has {} bytes, elements or this value; it may have {}", what,
                          broken.value, broken.max));
}

}  // namespace hadal::net
