#include "gpu/cubin_cache.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <tuple>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/files.h"

namespace hadal::gpu {
namespace {

constexpr std::string_view kSuffix = ".cubin";
constexpr std::string_view kTemporarySuffix = ".tmp";  // of write_file_atomically()
constexpr int64_t kTemporaryAgeNs = int64_t{3600} * kSecond;
constexpr int64_t kLockPollNs = 5 * kMillisecond;

std::string content_text(const Hash128& content) {
  return fmt::format("{:016x}{:016x}", content.high, content.low);
}

int64_t ns_of(const timespec& time) {
  return time.tv_sec * kSecond + time.tv_nsec;
}

struct Found {
  std::string file;
  int64_t bytes;
  int64_t used_ns;  // modification time, since 1970
};

/// The regular files of a folder whose names end so. An errno value on failure.
std::expected<std::vector<Found>, int> files_in(const std::string& path, std::string_view suffix) {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(path.c_str()), ::closedir);
  if (folder == nullptr) return std::unexpected(errno);
  std::vector<Found> files;
  while (const dirent* entry = ::readdir(folder.get())) {
    const std::string_view name = entry->d_name;
    if (!name.ends_with(suffix)) continue;
    struct stat status{};
    if (::fstatat(::dirfd(folder.get()), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) != 0)
      continue;
    if (!S_ISREG(status.st_mode)) continue;
    files.push_back({std::string(name), status.st_size, ns_of(status.st_mtim)});
  }
  return files;
}

/// Makes a folder and those above it. 0 or an errno value.
int make_folders(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) == 0) return 0;
  if (errno != ENOENT) return errno == EEXIST ? 0 : errno;
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos || slash == 0) return ENOENT;
  if (const int error = make_folders(path.substr(0, slash)); error != 0) return error;
  return ::mkdir(path.c_str(), 0700) == 0 || errno == EEXIST ? 0 : errno;
}

/// Takes or gives back one byte of the lock file; 0 or an errno value. Does not wait.
int set_lock(int fd, int64_t offset, short type) {
  struct flock range{};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = offset;
  range.l_len = 1;
  return ::fcntl(fd, F_OFD_SETLK, &range) == 0 ? 0 : errno;
}

const char* environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr || *value == '\0' ? nullptr : value;
}

}  // namespace

std::string default_cache_path() {
  if (const char* path = environment("HADAL_GPU_CACHE")) return path;
  // The XDG specification says to ignore relative paths.
  if (const char* path = environment("XDG_CACHE_HOME"); path != nullptr && *path == '/') {
    return std::string(path) + "/hadal/gpu";
  }
  if (const char* path = environment("HOME")) return std::string(path) + "/.cache/hadal/gpu";
  return "";
}

CubinCache::CubinCache(std::string path, int64_t bytes_max, Log log)
    : path_(std::move(path)), bytes_max_(bytes_max), log_(std::move(log)) {
  if (path_.empty()) {
    note({Code::kNotFound, "none of HADAL_GPU_CACHE, XDG_CACHE_HOME and HOME is set"});
  }
}

std::string CubinCache::file_of(const CubinKey& key) const {
  return fmt::format("{}-{}{}", content_text(key.content), key.compiler, kSuffix);
}

void CubinCache::note(const Error& error) {
  {
    const std::lock_guard guard(mutex_);
    if (trouble_) return;
    trouble_ = error;
  }
  log_.warn("the cache of compiled kernels does not work, hadal goes on without it: {}", error);
}

std::optional<Error> CubinCache::trouble() const {
  const std::lock_guard guard(mutex_);
  return trouble_;
}

bool CubinCache::make_folder() {
  if (path_.empty()) return false;
  const int error = make_folders(path_);
  if (error != 0) note(os_error(error, fmt::format("cannot make the folder {}", path_)));
  return error == 0;
}

std::optional<std::string> CubinCache::newest_file(const Hash128& content) {
  const std::string prefix = content_text(content) + "-";
  const auto files = files_in(path_, kSuffix);
  if (!files) {
    if (files.error() != ENOENT) {
      note(os_error(files.error(), fmt::format("cannot read the folder {}", path_)));
    }
    return std::nullopt;
  }
  int newest = -1;
  std::optional<std::string> best;
  for (const Found& found : *files) {
    if (!found.file.starts_with(prefix)) continue;
    int compiler = 0;
    std::from_chars(found.file.data() + prefix.size(), found.file.data() + found.file.size(),
                    compiler);
    if (compiler <= newest) continue;
    newest = compiler;
    best = found.file;
  }
  return best;
}

std::optional<CubinFile> CubinCache::find(const CubinKey& key, std::string_view architecture) {
  if (path_.empty()) return std::nullopt;
  const std::optional<std::string> name =
      key.compiler == 0 ? newest_file(key.content) : std::optional(file_of(key));
  if (!name) return std::nullopt;
  const std::string path = path_ + "/" + *name;
  const Result<std::string> bytes = read_file(path, kCubinFileBytesMax);
  if (!bytes) {
    if (bytes.error().code != Code::kNotFound) note(bytes.error());
    return std::nullopt;
  }
  Result<CubinFile> file = decode_cubin_file(bytes_of(*bytes));
  if (file && (file->key.content != key.content || file_of(file->key) != *name ||
               file->architecture != architecture)) {
    file = fail(Code::kCorrupt,
                fmt::format("it is for {} and key {}", file->architecture, file_of(file->key)));
  }
  if (!file) {
    log_.warn("{} is removed: {}", path, file.error());
    ::unlink(path.c_str());
    return std::nullopt;
  }
  // Where the folder is read-only the entry stays as old as it is.
  ::utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
  return *std::move(file);
}

void CubinCache::store(const CubinFile& file) {
  const std::vector<std::byte> bytes = encode_cubin_file(file);
  if (static_cast<int64_t>(bytes.size()) > std::min(bytes_max_, kCubinFileBytesMax)) return;
  if (!make_folder()) return;
  const std::string name = file_of(file.key);
  const Result<> written = write_file_atomically(path_ + "/" + name, bytes);
  if (!written) {
    note(written.error());
    return;
  }
  evict(name);
}

void CubinCache::evict(const std::string& keep) {
  auto files = files_in(path_, kSuffix);
  const auto temporaries = files_in(path_, kTemporarySuffix);
  if (!files || !temporaries) return;
  const int64_t now_ns = RealClock().wall_ns();
  for (const Found& found : *temporaries) {
    if (now_ns - found.used_ns > kTemporaryAgeNs) ::unlink((path_ + "/" + found.file).c_str());
  }
  int64_t sum = 0;
  for (const Found& found : *files) sum += found.bytes;
  if (sum <= bytes_max_) return;
  std::sort(files->begin(), files->end(), [](const Found& a, const Found& b) {
    return std::tie(a.used_ns, a.file) < std::tie(b.used_ns, b.file);
  });
  for (const Found& found : *files) {
    if (sum <= bytes_max_) return;
    if (found.file == keep) continue;
    ::unlink((path_ + "/" + found.file).c_str());  // another process may have been faster
    sum -= found.bytes;
  }
}

CubinCache::Lock CubinCache::lock(const CubinKey& key, int wait_ms) {
  if (!make_folder()) return {};
  const std::string path = path_ + "/lock";
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    note(os_error(errno, fmt::format("cannot open {}", path)));
    return {};
  }
  // Two keys that share a byte wait for each other, which is harmless.
  const auto offset = static_cast<int64_t>(key.content.low >> 2);
  RealClock clock;
  const Deadline deadline = Deadline::after(clock, wait_ms * kMillisecond);
  for (;;) {
    const int error = set_lock(fd, offset, F_WRLCK);
    if (error == 0) return {fd, offset};
    // Other errors: a file system without locks.
    const bool taken = error == EAGAIN || error == EACCES || error == EINTR;
    if (!taken || deadline.passed(clock)) {
      ::close(fd);
      return {};
    }
    clock.sleep_for(kLockPollNs);
  }
}

CubinCache::Lock::~Lock() {
  if (fd_ < 0) return;
  // Not by closing alone: a process forked meanwhile has the same file description open.
  set_lock(fd_, offset_, F_UNLCK);
  ::close(fd_);
}

Result<std::vector<CubinCache::Entry>> CubinCache::list() const {
  std::vector<Entry> entries;
  if (path_.empty()) return entries;
  auto files = files_in(path_, kSuffix);
  if (!files) {
    if (files.error() == ENOENT) return entries;
    return std::unexpected(os_error(files.error(), fmt::format("cannot read {}", path_)));
  }
  const int64_t now_ns = RealClock().wall_ns();
  for (const Found& found : *files) {
    Entry entry;
    entry.file = found.file;
    entry.bytes = found.bytes;
    entry.age_s = static_cast<double>(std::max<int64_t>(0, now_ns - found.used_ns)) / kSecond;
    Result<std::string> bytes = read_file(path_ + "/" + found.file, kCubinFileBytesMax);
    Result<CubinFile> file = bytes ? decode_cubin_file(bytes_of(*bytes))
                                   : Result<CubinFile>(std::unexpected(bytes.error()));
    if (file && file_of(file->key) != found.file) {
      file = fail(Code::kCorrupt, fmt::format("its key is that of {}", file_of(file->key)));
    }
    if (file) {
      entry.key = file->key;
      entry.architecture = std::move(file->architecture);
      entry.name = std::move(file->name);
      entry.log = std::move(file->log);
    } else {
      entry.defect = file.error();
    }
    entries.push_back(std::move(entry));
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.name, a.file) < std::tie(b.name, b.file);
  });
  return entries;
}

Result<int> CubinCache::clear() {
  if (path_.empty()) return 0;
  int removed = 0;
  for (const std::string_view suffix : {kSuffix, kTemporarySuffix}) {
    const auto files = files_in(path_, suffix);
    if (!files && files.error() == ENOENT) return 0;
    if (!files)
      return std::unexpected(os_error(files.error(), fmt::format("cannot read {}", path_)));
    for (const Found& found : *files) {
      const std::string path = path_ + "/" + found.file;
      if (::unlink(path.c_str()) == 0) {
        removed += suffix == kSuffix ? 1 : 0;
      } else if (errno != ENOENT) {
        return std::unexpected(os_error(errno, fmt::format("cannot remove {}", path)));
      }
    }
  }
  return removed;
}

}  // namespace hadal::gpu
