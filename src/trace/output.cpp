#include "trace/output.h"

#include <cerrno>
#include <cstdio>
#include <vector>

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/check.h"

namespace hadal::trace {
namespace {

constexpr size_t kBufferBytes = size_t{256} << 10;

// The bytes of the file, under a temporary name until they are whole.
class RawFile {
 public:
  static Result<RawFile> create(const std::string& path) {
    struct stat info{};
    const bool in_place = stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode);
    const std::string written = in_place ? path : fmt::format("{}.{}.tmp", path, getpid());
    const int flags = O_WRONLY | O_CLOEXEC | (in_place ? 0 : O_CREAT | O_TRUNC);
    const int fd = open(written.c_str(), flags, 0666);
    if (fd < 0) return std::unexpected(os_error(errno, path));
    return RawFile(fd, path, in_place ? std::string() : written);
  }
  RawFile(RawFile&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)),
        path_(std::move(other.path_)),
        temporary_(std::exchange(other.temporary_, {})) {}
  RawFile& operator=(RawFile&&) = delete;
  ~RawFile() {
    if (fd_ >= 0) close(fd_);
    if (!temporary_.empty()) unlink(temporary_.c_str());
  }

  Result<> write(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return std::unexpected(os_error(errno, path_));
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    return {};
  }
  Result<> finish() {
    if (temporary_.empty()) return {};
    if (fsync(fd_) != 0 || std::rename(temporary_.c_str(), path_.c_str()) != 0) {
      return std::unexpected(os_error(errno, path_));
    }
    temporary_.clear();
    return {};
  }

 private:
  RawFile(int fd, std::string path, std::string temporary)
      : fd_(fd), path_(std::move(path)), temporary_(std::move(temporary)) {}
  int fd_;
  std::string path_, temporary_;
};

class BufferedOutput : public Output {
 public:
  explicit BufferedOutput(RawFile file) : file_(std::move(file)) {}
  Result<> append(std::string_view text) override {
    buffer_ += text;
    return buffer_.size() < kBufferBytes ? Result<>() : flush(/*last=*/false);
  }
  Result<> finish() override {
    TRY(flush(/*last=*/true));
    return file_.finish();
  }

 protected:
  // Sends `text` on; `last` ends the compression.
  virtual Result<> send(std::string_view text, [[maybe_unused]] bool last) {
    return file_.write(text);
  }
  RawFile file_;

 private:
  Result<> flush(bool last) {
    Result<> sent = send(buffer_, last);
    buffer_.clear();
    return sent;
  }
  std::string buffer_;
};

class GzipOutput : public BufferedOutput {
 public:
  explicit GzipOutput(RawFile file) : BufferedOutput(std::move(file)), out_(kBufferBytes) {
    CHECK(deflateInit2(&stream_, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK,
          "zlib: no memory");
  }
  GzipOutput(const GzipOutput&) = delete;
  GzipOutput& operator=(const GzipOutput&) = delete;
  ~GzipOutput() override { deflateEnd(&stream_); }

 protected:
  Result<> send(std::string_view text, bool last) override {
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    stream_.avail_in = static_cast<uInt>(text.size());
    do {
      stream_.next_out = reinterpret_cast<Bytef*>(out_.data());
      stream_.avail_out = static_cast<uInt>(out_.size());
      deflate(&stream_, last ? Z_FINISH : Z_NO_FLUSH);
      TRY(file_.write({out_.data(), out_.size() - stream_.avail_out}));
    } while (stream_.avail_out == 0);
    return {};
  }

 private:
  z_stream stream_{};
  std::vector<char> out_;
};

class ZstdOutput : public BufferedOutput {
 public:
  explicit ZstdOutput(RawFile file)
      : BufferedOutput(std::move(file)), stream_(ZSTD_createCStream()), out_(kBufferBytes) {
    CHECK(stream_ != nullptr, "zstd: no memory");
  }
  ZstdOutput(const ZstdOutput&) = delete;
  ZstdOutput& operator=(const ZstdOutput&) = delete;
  ~ZstdOutput() override { ZSTD_freeCStream(stream_); }

 protected:
  Result<> send(std::string_view text, bool last) override {
    ZSTD_inBuffer in{text.data(), text.size(), 0};
    for (;;) {
      ZSTD_outBuffer out{out_.data(), out_.size(), 0};
      const size_t left =
          ZSTD_compressStream2(stream_, &out, &in, last ? ZSTD_e_end : ZSTD_e_continue);
      CHECK(ZSTD_isError(left) == 0, ZSTD_getErrorName(left));
      TRY(file_.write({out_.data(), out.pos}));
      if (last ? left == 0 : in.pos == in.size) return {};
    }
  }

 private:
  ZSTD_CStream* stream_;
  std::vector<char> out_;
};

}  // namespace

Result<std::unique_ptr<Output>> Output::create(const std::string& path) {
  RawFile file = TRY(RawFile::create(path));
  std::unique_ptr<Output> output;
  if (path.ends_with(".gz")) {
    output = std::make_unique<GzipOutput>(std::move(file));
  } else if (path.ends_with(".zst")) {
    output = std::make_unique<ZstdOutput>(std::move(file));
  } else {
    output = std::make_unique<BufferedOutput>(std::move(file));
  }
  return output;
}

}  // namespace hadal::trace
