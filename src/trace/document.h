// The bytes of a trace, read in pieces.
//
// A Source gives bytes of the uncompressed document by offset. A TextWindow is the part of it that
// is in memory now: it grows at its end and forgets its front, so that a document of any size
// passes through a buffer of a few MiB. Files are read with pread and not mapped: pages of a
// mapping count as the process's memory, and a file that shrinks while it is read would end the
// process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "trace/trace.h"

namespace hadal::trace {

class Source {
 public:
  virtual ~Source() = default;
  /// Up to `n` bytes from `offset`; fewer only at the end of the document. A source that is not
  /// random() can only be read on from where the last read ended.
  virtual Result<size_t> read(uint64_t offset, char* to, size_t n) = 0;
  /// Any offset at any time, from any thread.
  virtual bool random() const = 0;
  /// The document's size if it is known before it is read.
  virtual std::optional<uint64_t> size() const = 0;
  /// How many bytes of the file the bytes read so far came from, and how many it has.
  virtual uint64_t file_bytes_read() const = 0;
  virtual uint64_t file_bytes() const = 0;
  virtual Compression compression() const = 0;
  /// Why the document ended before its compression says it does; empty if it did not.
  virtual std::string broken() const { return {}; }
};

/// A file or pipe: plain, gzip or zstd by its first bytes. kNotFound, kPermissionDenied, kIo.
Result<std::unique_ptr<Source>> open_source(const std::string& path);
/// Text in memory that outlives the source; compressed text is told by its first bytes as well.
std::unique_ptr<Source> open_text(std::string_view text);

class TextWindow {
 public:
  /// How many bytes before a discarded position stay, for those who look back.
  static constexpr size_t kLookBehind = 64;

  /// Empty, at `offset` of the document.
  explicit TextWindow(Source& source, uint64_t offset = 0) : source_(&source), offset_(offset) {}

  uint64_t offset() const { return offset_; }  // of begin()
  uint64_t end_offset() const { return offset_ + size_; }
  const char* begin() const { return buffer_.data(); }
  const char* end() const { return buffer_.data() + size_; }
  const char* at(uint64_t offset) const { return begin() + (offset - offset_); }
  uint64_t offset_of(const char* p) const { return offset_ + static_cast<uint64_t>(p - begin()); }

  /// Starts anew at `offset`.
  void restart(uint64_t offset);
  /// Reads on: `bytes` more, or fewer at the end of the document. False if there are none, also
  /// after an error, which error() then has. Pointers become invalid; offsets stay.
  bool grow(size_t bytes);
  /// Forgets what is before `offset`, but for kLookBehind bytes.
  void discard_before(uint64_t offset);
  const std::optional<Error>& error() const { return error_; }

 private:
  Source* source_;
  uint64_t offset_;
  size_t size_ = 0;
  std::vector<char> buffer_;  // padded as scan.h says
  std::optional<Error> error_;
};

}  // namespace hadal::trace
