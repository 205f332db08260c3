#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace hadal {

void check_failed(const char* expression, const char* file, int line, std::string_view message) {
  std::fprintf(stderr, "%s:%d: CHECK(%s) failed%s%.*s\n", file, line, expression,
               message.empty() ? "" : ": ", static_cast<int>(message.size()), message.data());
  std::fflush(stderr);
  std::abort();
}

}  // namespace hadal
