// The index of a chunk store on disk: all chunks as of one batch of the log, written whole.
//
// The file gets its name only when it is complete and durable, so there is always one that opens.
// What it holds may be newer than the batch it is named after: the log from there on is replayed
// over it, and a record says all that is known of its chunk.
//
// Threads: one executor; everything waits.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "fs/chunk/format.h"
#include "io/file_system.h"

namespace hadal::fs {

class CheckpointWriter {
 public:
  static Result<CheckpointWriter> begin(io::FileSystem& files, const std::string& folder);

  /// A chunk, without runs, or a writer.
  Result<> add(const Record& record);
  /// Makes it the index as of the batch, and removes older ones.
  Result<> finish(uint64_t sequence);

  int64_t bytes() const { return end_; }

 private:
  CheckpointWriter(io::FileSystem& files, std::string folder, std::unique_ptr<io::File> file)
      : files_(&files), folder_(std::move(folder)), file_(std::move(file)) {}
  Result<> write_frame();

  io::FileSystem* files_;
  std::string folder_;
  std::unique_ptr<io::File> file_;
  int64_t end_ = 0;
  std::vector<std::byte> frame_ = {};
  EndRecord counts_ = {};
};

/// The batch of the newest index; none: there is none.
Result<std::optional<uint64_t>> newest_checkpoint(io::FileSystem& files, const std::string& folder);

/// Calls `visit` with every record but the end. kCorrupt if the file is not whole.
Result<> read_checkpoint(io::FileSystem& files, const std::string& folder, uint64_t sequence,
                         const std::function<Result<>(const Record& record)>& visit);

}  // namespace hadal::fs
