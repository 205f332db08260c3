// Sources that can only be read from front to back: gzip, zstd and pipes.
//
// A thread reads and decompresses ahead of the reader, kBlocksMax blocks at most, so that inflating
// and parsing share the time. zlib and not a faster inflate: it streams, its input may be hostile,
// and every system has it; the parser is as fast as it is.
//
// A gzip file may have several members and a zstd file several frames: they are read as one
// document. What follows the last member and is none (padding, usually zeros) is ignored, as gzip
// does. A stream that breaks off or is broken in the middle ends there, and broken() says so.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "trace/document.h"

namespace hadal::trace {

/// What the first bytes of a file say.
Compression compression_of(std::string_view first_bytes);

/// The compressed bytes of a Source that is random(), from their start.
std::unique_ptr<Source> decompress(std::unique_ptr<Source> from, Compression compression);

/// Plain or compressed bytes of a file descriptor that cannot seek; closes it at the end.
std::unique_ptr<Source> read_pipe(int fd, const std::string& path);

}  // namespace hadal::trace
