#include "eplb/whole_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

namespace hadal::eplb {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return fd_; }
  /// 0 or errno; a disk quota or a network file system may report a failed write only here.
  int close() {
    const int result = fd_ >= 0 ? ::close(fd_) : 0;
    fd_ = -1;
    return result == 0 ? 0 : errno;
  }

 private:
  int fd_;
};

Result<std::string> read_all(int fd, std::string_view name, size_t bytes_max) {
  constexpr size_t kFirstChunk = size_t{1} << 16;
  std::string bytes;
  size_t used = 0;
  struct stat info{};
  if (::fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
    bytes.resize(std::min(static_cast<size_t>(info.st_size), bytes_max) + 1);
  }
  while (true) {
    if (used == bytes.size()) bytes.resize(std::max(kFirstChunk, bytes.size() * 2));
    const ssize_t got = ::read(fd, bytes.data() + used, bytes.size() - used);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EISDIR) {
      return fail(Code::kInvalidArgument, fmt::format("{} is a directory", name));
    }
    if (got < 0) return std::unexpected(os_error(errno, fmt::format("read {}", name)));
    if (got == 0) break;
    used += static_cast<size_t>(got);
    if (used > bytes_max) {
      return fail(
          Code::kInvalidArgument,
          fmt::format("{} is larger than {} bytes, the most that is read", name, bytes_max));
    }
  }
  bytes.resize(used);
  return bytes;
}

Result<> write_all(int fd, std::string_view name, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t done = ::write(fd, bytes.data(), bytes.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return std::unexpected(os_error(errno, fmt::format("write {}", name)));
    bytes.remove_prefix(static_cast<size_t>(done));
  }
  return {};
}

/// A new file beside `path`, and its name: with the mode that the umask gives a new file, so that
/// it need not be looked up.
int create_beside(const std::string& path, std::string& temporary) {
  constexpr int kTries = 100;  // names left by killed processes, and other threads on the same path
  for (int i = 0; i < kTries; ++i) {
    temporary = fmt::format("{}.{}.{}.tmp", path, ::getpid(), i);
    const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0 || errno != EEXIST) return fd;
  }
  return -1;
}

}  // namespace

std::string_view shown_path(std::string_view path) {
  return path == "-" ? std::string_view("standard input") : path;
}

Result<std::string> read_whole_file(const std::string& path, size_t bytes_max) {
  if (path == "-") return read_all(STDIN_FILENO, shown_path(path), bytes_max);
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return std::unexpected(os_error(errno, path));
  return read_all(file.get(), path, bytes_max);
}

Result<> write_whole_file(const std::string& path, std::string_view bytes) {
  const std::string what = fmt::format("write {}", path);
  struct stat info{};
  const bool exists = ::stat(path.c_str(), &info) == 0;
  if (exists && !S_ISREG(info.st_mode)) {
    const Descriptor file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (file.get() < 0) return std::unexpected(os_error(errno, what));
    return write_all(file.get(), path, bytes);
  }
  std::string temporary;
  Descriptor file(create_beside(path, temporary));
  if (file.get() < 0) return std::unexpected(os_error(errno, what));
  Result<> written = write_all(file.get(), path, bytes);
  if (written &&
      ((exists && ::fchmod(file.get(), info.st_mode & 07777) != 0) || ::fsync(file.get()) != 0)) {
    written = std::unexpected(os_error(errno, what));
  }
  if (const int error = file.close(); written && error != 0) {
    written = std::unexpected(os_error(error, what));
  }
  if (written && ::rename(temporary.c_str(), path.c_str()) != 0) {
    written = std::unexpected(os_error(errno, what));
  }
  if (!written) ::unlink(temporary.c_str());
  return written;
}

}  // namespace hadal::eplb
