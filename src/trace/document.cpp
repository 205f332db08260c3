#include "trace/document.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trace/scan.h"
#include "trace/stream.h"

namespace hadal::trace {
namespace {

class MemorySource : public Source {
 public:
  explicit MemorySource(std::string_view text) : text_(text) {}
  Result<size_t> read(uint64_t offset, char* to, size_t n) override {
    if (offset >= text_.size()) return size_t{0};
    n = std::min<uint64_t>(n, text_.size() - offset);
    std::memcpy(to, text_.data() + offset, n);
    return n;
  }
  bool random() const override { return true; }
  std::optional<uint64_t> size() const override { return text_.size(); }
  uint64_t file_bytes_read() const override { return text_.size(); }
  uint64_t file_bytes() const override { return text_.size(); }
  Compression compression() const override { return Compression::kNone; }

 private:
  std::string_view text_;
};

class FileSource : public Source {
 public:
  FileSource(int fd, std::string path, uint64_t size)
      : fd_(fd), path_(std::move(path)), size_(size) {}
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;
  ~FileSource() override { close(fd_); }

  Result<size_t> read(uint64_t offset, char* to, size_t n) override {
    size_t done = 0;
    while (done < n) {
      const ssize_t got = pread(fd_, to + done, n - done, static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return std::unexpected(os_error(errno, path_));
      if (got == 0) break;
      done += static_cast<size_t>(got);
    }
    return done;
  }
  bool random() const override { return true; }
  std::optional<uint64_t> size() const override { return size_; }
  uint64_t file_bytes_read() const override { return size_; }
  uint64_t file_bytes() const override { return size_; }
  Compression compression() const override { return Compression::kNone; }

 private:
  int fd_;
  std::string path_;
  uint64_t size_;
};

Result<std::unique_ptr<Source>> unpacked(std::unique_ptr<Source> file) {
  char first[4] = {};
  const size_t n = TRY(file->read(0, first, sizeof first));
  const Compression compression = compression_of({first, n});
  if (compression == Compression::kNone) return file;
  return decompress(std::move(file), compression);
}

}  // namespace

Result<std::unique_ptr<Source>> open_source(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::unexpected(os_error(errno, path));
  struct stat info{};
  if (fstat(fd, &info) != 0 || S_ISDIR(info.st_mode)) {
    const int error = S_ISDIR(info.st_mode) ? EISDIR : errno;
    close(fd);
    return std::unexpected(os_error(error, path));
  }
  if (!S_ISREG(info.st_mode)) return read_pipe(fd, path);
  auto file = std::make_unique<FileSource>(fd, path, static_cast<uint64_t>(info.st_size));
  return unpacked(std::move(file));
}

std::unique_ptr<Source> open_text(std::string_view text) {
  const Compression compression = compression_of(text.substr(0, 4));
  auto memory = std::make_unique<MemorySource>(text);
  if (compression == Compression::kNone) return memory;
  return decompress(std::move(memory), compression);
}

void TextWindow::restart(uint64_t offset) {
  offset_ = offset;
  size_ = 0;
}

bool TextWindow::grow(size_t bytes) {
  if (error_) return false;
  if (buffer_.size() < size_ + bytes + kScanPadding) buffer_.resize(size_ + bytes + kScanPadding);
  Result<size_t> got = source_->read(end_offset(), buffer_.data() + size_, bytes);
  const size_t more = got ? *got : 0;
  if (!got) error_ = std::move(got).error();
  size_ += more;
  std::memset(buffer_.data() + size_, kScanFill, kScanPadding);
  return more != 0;
}

void TextWindow::discard_before(uint64_t offset) {
  if (offset <= offset_ + kLookBehind) return;
  const size_t n = std::min<uint64_t>(size_, offset - kLookBehind - offset_);
  if (n == 0) return;
  std::memmove(buffer_.data(), buffer_.data() + n, size_ - n + kScanPadding);
  size_ -= n;
  offset_ += n;
}

}  // namespace hadal::trace
