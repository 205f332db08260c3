#include "base/error.h"

#include <cerrno>
#include <system_error>

#include <fmt/core.h>

namespace hadal {

std::string_view code_name(Code code) {
  switch (code) {
    case Code::kInvalidArgument: return "invalid argument";
    case Code::kNotFound: return "not found";
    case Code::kAlreadyExists: return "already exists";
    case Code::kPermissionDenied: return "permission denied";
    case Code::kCorrupt: return "corrupt";
    case Code::kConflict: return "conflict";
    case Code::kTimeout: return "timeout";
    case Code::kCancelled: return "cancelled";
    case Code::kUnavailable: return "unavailable";
    case Code::kNoSpace: return "no space";
    case Code::kUnsupported: return "unsupported";
    case Code::kIo: return "i/o error";
    case Code::kInternal: return "internal";
  }
  return "unknown";
}

Error os_error(int errno_value, std::string_view what) {
  const Code code = errno_value == ENOENT                            ? Code::kNotFound
                    : errno_value == EEXIST                          ? Code::kAlreadyExists
                    : errno_value == EACCES || errno_value == EPERM  ? Code::kPermissionDenied
                    : errno_value == ENOSPC || errno_value == EDQUOT ? Code::kNoSpace
                                                                     : Code::kIo;
  return {code, fmt::format("{}: {}", what, std::generic_category().message(errno_value))};
}

int exit_code(const Error& error) {
  switch (error.code) {
    case Code::kInvalidArgument:
    case Code::kNotFound:
    case Code::kAlreadyExists:
    case Code::kCorrupt: return 2;
    default: return 3;
  }
}

}  // namespace hadal
