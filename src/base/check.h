// Assertions about hadal itself.
//
// CHECK is always on; DCHECK is on in builds without NDEBUG and is for hot loops. Neither is for
// input: bytes from a user, file, disk or network that break a rule return an Error (base/error.h).
// A failed check prints the expression, the place and an optional message to stderr, then aborts.
#pragma once

#include <string_view>

namespace hadal {

[[noreturn]] void check_failed(const char* expression, const char* file, int line,
                               std::string_view message = {});

}  // namespace hadal

/// CHECK(condition) or CHECK(condition, "message").
#define CHECK(condition, ...)                                                           \
  do {                                                                                  \
    if (!(condition)) [[unlikely]]                                                      \
      ::hadal::check_failed(#condition, __FILE__, __LINE__ __VA_OPT__(, ) __VA_ARGS__); \
  } while (0)

#ifdef NDEBUG
#define DCHECK(condition, ...)  \
  do {                          \
    (void)sizeof(!(condition)); \
  } while (0)
#else
#define DCHECK(condition, ...) CHECK(condition __VA_OPT__(, ) __VA_ARGS__)
#endif
