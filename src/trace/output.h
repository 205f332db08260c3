// A file that is written from front to back: plain, gzip for a name in .gz, zstd for .zst.
//
// Like write_file_atomically(): the name holds the old content until finish(), then the new. A pipe
// or device is written in place.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"

namespace hadal::trace {

class Output {
 public:
  /// kNotFound, kPermissionDenied, kIo.
  static Result<std::unique_ptr<Output>> create(const std::string& path);
  virtual ~Output() = default;
  /// Buffered; the error of an earlier append may come with a later one or with finish().
  virtual Result<> append(std::string_view text) = 0;
  /// Without it nothing remains.
  virtual Result<> finish() = 0;
};

}  // namespace hadal::trace
