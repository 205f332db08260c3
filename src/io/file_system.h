// Files as servers use them: an operation waits as fibers do (base/executor.h), errors are Results,
// and what is durable is said explicitly.
//
// Durability. What was written to a file, and its size, is durable after File::sync(); a name that
// was made, changed or removed after FileSystem::sync_folder(). Before that a loss of power may
// keep any of it: whole writes, single sectors of 512 bytes, names in the order in which they were
// made up to some point, or nothing. Two writes between the same syncs have no order. A process
// that is killed alone loses nothing that a write had returned for.
//
// Paths are relative to the file system's root, "folder/name", without "." and "..". Links are not
// followed: nothing outside of the root is reached.
//
// Errors: kNotFound, kAlreadyExists, kNoSpace, kInvalidArgument for a path or range that cannot be
// or a folder where a file is meant, kUnsupported where the system has no direct access, kIo where
// the device fails. The message names the path. A write that fails may have happened in part. A
// sync that fails may have lost writes: what was not durable before is unknown from then on.
//
// Operations that run at the same time have no order; where they touch the same bytes, any of the
// results may stand. Files end before their file system.
//
// Threads: one executor, in its fibers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace hadal::io {

inline constexpr int64_t kSectorBytes = 512;  // what a device writes whole or not at all
inline constexpr int64_t kBlockBytes = 4096;  // what direct access moves
inline constexpr int64_t kFileBytesMax = int64_t{1} << 60;  // a system may hold less
inline constexpr size_t kNameBytesMax = 255;

class File {
 public:
  virtual ~File() = default;

  /// Bytes from `offset` on; fewer where the file ends. Holes are zeros.
  virtual Result<size_t> read(int64_t offset, std::span<std::byte> to) = 0;
  /// Grows the file where it must. Writes all, or fails.
  virtual Result<> write(int64_t offset, std::span<const std::byte> from) = 0;
  virtual Result<> sync() = 0;
  virtual Result<int64_t> size() = 0;
  /// Cuts, or grows by a hole.
  virtual Result<> resize(int64_t bytes) = 0;
  /// Makes a range a hole, and gives its space back. The size stays.
  virtual Result<> punch_hole(int64_t offset, int64_t bytes) = 0;
};

enum class Open : uint8_t {
  kExisting,
  kCreate,     // if it does not exist
  kCreateNew,  // kAlreadyExists if it does
};

enum class Access : uint8_t {
  kBuffered,
  kDirect,  // past the system's cache: offset, length and memory are multiples of kBlockBytes
};

/// Held until it is destroyed, or its process ends.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

struct Space {
  int64_t total_bytes = 0;
  int64_t free_bytes = 0;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  virtual Result<std::unique_ptr<File>> open(std::string_view path, Open how, Access access) = 0;
  Result<std::unique_ptr<File>> open(std::string_view path, Open how) {
    return open(path, how, Access::kBuffered);
  }
  /// The file goes when nobody has it open any more. A folder must be empty.
  virtual Result<> remove(std::string_view path) = 0;
  /// Replaces what `to` names, at once. Files, not folders.
  virtual Result<> rename(std::string_view from, std::string_view to) = 0;
  /// No error if it exists. Not its parents.
  virtual Result<> make_folder(std::string_view path) = 0;
  /// Makes names in the folder durable; "" is the root.
  virtual Result<> sync_folder(std::string_view path) = 0;
  /// Names in a folder, files and folders, sorted.
  virtual Result<std::vector<std::string>> list(std::string_view path) = 0;
  virtual Result<Space> space() = 0;
  /// Locks a file, which is made if need be, against every other lock of it. kUnavailable at once
  /// where somebody else holds it.
  virtual Result<std::unique_ptr<FileLock>> lock(std::string_view path) = 0;
};

}  // namespace hadal::io
