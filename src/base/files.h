// Whole small files: configurations, plans, reports. Data paths use src/io.
//
// A file is read with a bound on its size and written so that its name holds the old content or the
// new, never a part: a temporary file in the same directory is written, synced and renamed over it,
// and the directory is synced. On any error the temporary file is gone and the old file untouched.
//
// Commands use read_input() and write_output(), which know what a command line means by a file: "-"
// is standard input, and a pipe or a device is written in place. Thread-safe; of two processes that
// write one file the last wins.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/error.h"

namespace hadal {

inline constexpr int64_t kReadFileBytesMax = int64_t{1} << 30;

/// The content of a file, or of a pipe or device until its end. kNotFound, kPermissionDenied,
/// kInvalidArgument for a directory or for more than `bytes_max`; the message names the file.
Result<std::string> read_file(const std::string& path, int64_t bytes_max = kReadFileBytesMax);

/// Makes `path` a file with this content. An existing file keeps its permission bits, a new one
/// gets 0666 less the umask; a symbolic link is followed. kNotFound if the directory does not
/// exist, kPermissionDenied, kNoSpace; kInvalidArgument if `path` exists and is not a regular file.
Result<> write_file_atomically(const std::string& path, Bytes content);
Result<> write_file_atomically(const std::string& path, std::string_view content);

/// read_file(), or all of standard input for "-".
Result<std::string> read_input(const std::string& path, int64_t bytes_max = kReadFileBytesMax);

/// write_file_atomically(), but what exists and is no regular file (a pipe, /dev/stdout) is written
/// in place.
Result<> write_output(const std::string& path, std::string_view content);

/// "-" is called "standard input" in messages; every other path is itself.
std::string_view shown_path(std::string_view path);

}  // namespace hadal
