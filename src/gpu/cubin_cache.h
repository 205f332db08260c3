// Compiled kernels on disk, shared by all processes of a user.
//
// The cache makes a start faster and is never needed: a folder that cannot be read, written or
// locked is noted once (trouble(), and a warning in the log), and everything goes on without it.
// So no function here returns an error for what a disk may do.
//
// Why it can be trusted. An entry's name holds what it was made from (content_hash()) and the
// version of NVRTC, so it never gets old; it is written beside its place and renamed, so a reader
// sees a whole file or none; and it carries its length, key, architecture and a checksum, so that
// what a crash, a full disk or another program leaves behind is a miss, and is removed.
//
// Many processes. lock() lets the first process that wants a key compile it while the others wait,
// and then find it. It locks one byte of the file `lock`, chosen by the key (an open file
// description lock: threads exclude each other as processes do, a holder that dies lets go, and no
// file is left behind per key). A holder that hangs is not waited for longer than kLockWaitMs:
// then two compile, and the later rename wins with the same bytes.
//
// Bounds. store() keeps the sum of the entries under bytes_max: those whose last use (the
// modification time, renewed by find()) is oldest go first. Files of writers that died are removed
// after an hour.
//
// Trust. A cubin is code. The folder is made for its owner alone (0700); a folder that others may
// write to should not be named.
//
// The format of an entry: docs/formats/cubin-cache.md. Threads: any number. After fork() both
// processes may go on.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "gpu/cubin_file.h"

namespace hadal::gpu {

/// $HADAL_GPU_CACHE, or $XDG_CACHE_HOME/hadal/gpu, or ~/.cache/hadal/gpu; "" if none is set.
std::string default_cache_path();

class CubinCache {
 public:
  static constexpr int kLockWaitMs = 30'000;

  /// No folder is touched before it is used. "" for `path`: nothing is found and nothing kept.
  CubinCache(std::string path, int64_t bytes_max, Log log = {});

  const std::string& path() const { return path_; }
  int64_t bytes_max() const { return bytes_max_; }

  /// The entry, if it is there and whole and for this architecture. A key whose compiler is 0 means
  /// the newest compiler's.
  std::optional<CubinFile> find(const CubinKey& key, std::string_view architecture);

  void store(const CubinFile& file);

  /// The right to compile a key, until the end of the scope. Holds nothing where the folder cannot
  /// be locked.
  class Lock {
   public:
    Lock() = default;
    Lock(int fd, int64_t offset) : fd_(fd), offset_(offset) {}
    Lock(Lock&& other) noexcept : fd_(std::exchange(other.fd_, -1)), offset_(other.offset_) {}
    Lock& operator=(Lock&&) = delete;
    ~Lock();
    bool held() const { return fd_ >= 0; }

   private:
    int fd_ = -1;
    int64_t offset_ = 0;
  };
  Lock lock(const CubinKey& key, int wait_ms = kLockWaitMs);

  /// The first thing that kept the cache from working, if any.
  std::optional<Error> trouble() const;

  struct Entry {
    std::string file;  // its name in the folder
    int64_t bytes = 0;
    double age_s = 0;             // since its last use
    std::optional<Error> defect;  // of the file; the fields below are then empty
    CubinKey key;
    std::string architecture, name, log;
  };

  /// Reads and checks every entry, sorted by kernel and file. kNotFound, kPermissionDenied, ... if
  /// the folder cannot be read; a folder that does not exist has no entries.
  Result<std::vector<Entry>> list() const;

  /// Removes every entry; how many there were.
  Result<int> clear();

 private:
  std::string file_of(const CubinKey& key) const;
  std::optional<std::string> newest_file(const Hash128& content);
  void evict(const std::string& keep);
  void note(const Error& error);
  bool make_folder();

  const std::string path_;
  const int64_t bytes_max_;
  const Log log_;
  mutable std::mutex mutex_;
  std::optional<Error> trouble_;  // guarded by mutex_
};

}  // namespace hadal::gpu
