// Errors as values.
//
// Everything that can fail because of the world (a user, a file, a disk, a peer) returns a
// Result<T>. What can fail only because hadal itself is wrong is a CHECK (base/check.h). No
// exception crosses a public header.
//
// An Error is one of a dozen codes that an operator can act upon, and one sentence that names the
// offending argument or file, the value seen and the values allowed. On the way up a caller may put
// context in front: "plan.json: num_gpus is 7; it must divide num_replicas 288".
//
//   Result<Plan> read_plan(const std::string& path) {
//     std::string text = TRY(read_file(path));
//     return in(path, parse_plan(text));
//   }
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace hadal {

enum class Code {
  kInvalidArgument,   // the caller or user gave a value that is not allowed
  kNotFound,          // a file, object or name does not exist
  kAlreadyExists,     // it exists and must not
  kPermissionDenied,  // the operating system or an access rule said no
  kCorrupt,           // stored or received bytes fail their checksum or format
  kConflict,          // somebody else changed it first; retry from a fresh read
  kTimeout,           // the deadline passed; the outcome may be unknown
  kCancelled,         // the caller gave up
  kUnavailable,       // a peer or service is not there now; retry later
  kNoSpace,           // disk, memory or a named bound is full
  kUnsupported,       // this machine or build lacks what the request needs
  kIo,                // the operating system reported any other failure
  kInternal,          // hadal found itself wrong and could say so
};

/// "invalid argument", "not found", ...: stable, lower case, for logs and JSON.
std::string_view code_name(Code code);

struct [[nodiscard]] Error {
  Code code;
  std::string message;  // one sentence, no trailing period or newline

  /// The same error with "context: " in front of its message.
  Error in(std::string_view context) && {
    message.insert(0, ": ").insert(0, context);
    return std::move(*this);
  }
};

template <typename T = void>
using Result = std::expected<T, Error>;

/// The same result with "context: " in front of an error's message.
template <typename T>
Result<T> in(std::string_view context, Result<T> result) {
  if (!result) return std::unexpected(std::move(result).error().in(context));
  return result;
}

/// `return fail(Code::kNotFound, fmt::format("{}: no such file", path));`
[[nodiscard]] inline std::unexpected<Error> fail(Code code, std::string message) {
  return std::unexpected(Error{code, std::move(message)});
}

/// An Error for a failed system call, with the text of `errno_value`. ENOENT, EEXIST, EACCES/EPERM
/// and ENOSPC get their own codes; everything else is kIo.
[[nodiscard]] Error os_error(int errno_value, std::string_view what);

/// The exit code of a command that ends with this error: 2 bad usage or input, 3 environment.
int exit_code(const Error& error);

}  // namespace hadal

/// The value of a Result, or a return of its error from the enclosing function. Not inside a braced
/// list after a member that owns memory: g++ 12 then forgets to destroy that member.
#define TRY(...)                                              \
  ({                                                          \
    auto try_result_ = (__VA_ARGS__);                         \
    if (!try_result_) [[unlikely]]                            \
      return std::unexpected(std::move(try_result_).error()); \
    *std::move(try_result_);                                  \
  })
