#include "base/files.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

namespace hadal {
namespace {

class File {
 public:
  File(const std::string& path, int flags, mode_t mode = 0) {
    do fd_ = ::open(path.c_str(), flags | O_CLOEXEC, mode);
    while (fd_ < 0 && errno == EINTR);
  }
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  int fd() const { return fd_; }

  /// Closes now, for the errors that some file systems report only then. True if it went well.
  bool close() {
    const int fd = fd_;
    fd_ = -1;
    return ::close(fd) == 0;
  }

 private:
  int fd_ = -1;
};

/// Removes a temporary file unless it was renamed.
class Temporary {
 public:
  explicit Temporary(std::string path) : path_(std::move(path)) {}
  ~Temporary() {
    if (!kept_) ::unlink(path_.c_str());
  }
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;

  const std::string& path() const { return path_; }
  void keep() { kept_ = true; }

 private:
  std::string path_;
  bool kept_ = false;
};

std::string_view kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISCHR(mode) || S_ISBLK(mode)) return "a device";
  if (S_ISFIFO(mode)) return "a pipe";
  return "a socket";
}

Result<> write_all(int fd, Bytes content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t written = ::write(fd, content.data(), content.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return std::unexpected(os_error(errno, fmt::format("cannot write {}", path)));
    content = content.subspan(static_cast<size_t>(written));
  }
  return {};
}

Error too_large(const std::string& path, int64_t bytes_max) {
  return {Code::kInvalidArgument,
          fmt::format("{} is larger than the {} bytes allowed here", path, bytes_max)};
}

std::string directory_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

/// Where the content goes: `path`, or what it is a symbolic link to. `mode` becomes the permission
/// bits of an existing file.
Result<std::string> resolve_target(const std::string& path, mode_t& mode, bool& exists) {
  struct stat status{};
  exists = ::stat(path.c_str(), &status) == 0;
  if (!exists && errno != ENOENT) {
    return std::unexpected(os_error(errno, fmt::format("cannot write {}", path)));
  }
  if (!exists) {
    if (::lstat(path.c_str(), &status) != 0) return path;
    return fail(Code::kInvalidArgument,
                fmt::format("cannot write {}: it is a symbolic link to nothing", path));
  }
  if (!S_ISREG(status.st_mode)) {
    return fail(Code::kInvalidArgument, fmt::format("cannot write {}: it is {}, not a regular file",
                                                    path, kind_of(status.st_mode)));
  }
  mode = status.st_mode & 07777;
  const std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), std::free);
  return real ? std::string(real.get()) : path;
}

Result<std::string> read_all(int fd, const std::string& path, int64_t bytes_max) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) {
    return std::unexpected(os_error(errno, fmt::format("cannot read {}", path)));
  }
  if (S_ISDIR(status.st_mode)) {
    return fail(Code::kInvalidArgument, fmt::format("cannot read {}: it is a directory", path));
  }
  if (status.st_size > bytes_max) return std::unexpected(too_large(path, bytes_max));

  // One byte more than the size, so that the usual file ends in the first round. Files in /proc and
  // pipes say 0; files may also grow while they are read.
  std::string content(static_cast<size_t>(std::max<int64_t>(status.st_size, 4095)) + 1, '\0');
  size_t size = 0;
  for (;;) {
    const ssize_t got = ::read(fd, content.data() + size, content.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::unexpected(os_error(errno, fmt::format("cannot read {}", path)));
    if (got == 0) break;
    size += static_cast<size_t>(got);
    if (size > static_cast<size_t>(bytes_max)) return std::unexpected(too_large(path, bytes_max));
    if (size == content.size()) content.resize(2 * size);
  }
  content.resize(size);
  return content;
}

}  // namespace

Result<std::string> read_file(const std::string& path, int64_t bytes_max) {
  const File file(path, O_RDONLY);
  if (file.fd() < 0) return std::unexpected(os_error(errno, fmt::format("cannot read {}", path)));
  return read_all(file.fd(), path, bytes_max);
}

Result<std::string> read_input(const std::string& path, int64_t bytes_max) {
  if (path != "-") return read_file(path, bytes_max);
  return read_all(STDIN_FILENO, std::string(shown_path(path)), bytes_max);
}

Result<> write_file_atomically(const std::string& path, Bytes content) {
  const auto failed = [&] {
    return std::unexpected(os_error(errno, fmt::format("cannot write {}", path)));
  };
  mode_t mode = 0;
  bool exists = false;
  const std::string target = TRY(resolve_target(path, mode, exists));

  uint64_t random = 0;
  if (::getrandom(&random, sizeof random, 0) != sizeof random) return failed();
  const std::string temporary_path = fmt::format("{}.{:016x}.tmp", target, random);
  File file(temporary_path, O_WRONLY | O_CREAT | O_EXCL, 0666);
  if (file.fd() < 0) return failed();
  Temporary temporary(temporary_path);
  if (exists && ::fchmod(file.fd(), mode) != 0) return failed();
  TRY(write_all(file.fd(), content, path));
  if (::fsync(file.fd()) != 0 || !file.close()) return failed();
  if (::rename(temporary.path().c_str(), target.c_str()) != 0) return failed();
  temporary.keep();

  const File directory(directory_of(target), O_RDONLY | O_DIRECTORY);
  // A directory that may be written but not read cannot be synced; the rename stands all the same.
  if (directory.fd() >= 0 && ::fsync(directory.fd()) != 0 && errno != EINVAL) return failed();
  return {};
}

Result<> write_file_atomically(const std::string& path, std::string_view content) {
  return write_file_atomically(path, bytes_of(content));
}

Result<> write_output(const std::string& path, std::string_view content) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0 || S_ISREG(status.st_mode)) {
    return write_file_atomically(path, content);
  }
  const File file(path, O_WRONLY);
  if (file.fd() < 0) return std::unexpected(os_error(errno, fmt::format("cannot write {}", path)));
  return write_all(file.fd(), bytes_of(content), path);
}

std::string_view shown_path(std::string_view path) {
  return path == "-" ? std::string_view("standard input") : path;
}

}  // namespace hadal
