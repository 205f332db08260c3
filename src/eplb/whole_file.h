// Files that are read and written whole: load dumps, plans, drawings.
//
// Reads are bounded, so that a wrong path (a device, an endless pipe) ends in a sentence instead of
// in the kernel's out-of-memory killer. Writes are atomic: a reader sees the old file or the new
// one, never half of one, and a full disk leaves the old one in place.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "base/error.h"

namespace hadal::eplb {

/// "-" is called "standard input" in messages; every other path is itself.
std::string_view shown_path(std::string_view path);

/// All bytes of the file at `path`, or of standard input for "-". More than `bytes_max` bytes is
/// kInvalidArgument, as is a directory. Messages name the file.
Result<std::string> read_whole_file(const std::string& path, size_t bytes_max);

/// Replaces the file at `path` by `bytes`: a temporary file in the same directory, fsync, rename.
/// An existing file keeps its permissions; a new one gets 0666 less the umask. Something that is no
/// regular file (a pipe, /dev/stdout) is written in place.
Result<> write_whole_file(const std::string& path, std::string_view bytes);

}  // namespace hadal::eplb
