#include "trace/stream.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/check.h"

namespace hadal::trace {
namespace {

constexpr size_t kInputBytes = size_t{256} << 10;
constexpr size_t kBlockBytes = size_t{1} << 20;
constexpr size_t kBlocksMax = 4;

// Bytes as they are in the file, in order.
class Input {
 public:
  virtual ~Input() = default;
  virtual Result<size_t> read(char* to, size_t n) = 0;
};

class SourceInput : public Input {
 public:
  explicit SourceInput(std::unique_ptr<Source> from) : from_(std::move(from)) {}
  Result<size_t> read(char* to, size_t n) override {
    Result<size_t> got = from_->read(offset_, to, n);
    if (got) offset_ += *got;
    return got;
  }

 private:
  std::unique_ptr<Source> from_;
  uint64_t offset_ = 0;
};

class PipeInput : public Input {
 public:
  PipeInput(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  PipeInput(const PipeInput&) = delete;
  PipeInput& operator=(const PipeInput&) = delete;
  ~PipeInput() override { close(fd_); }
  Result<size_t> read(char* to, size_t n) override {
    size_t done = 0;
    while (done < n) {
      const ssize_t got = ::read(fd_, to + done, n - done);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return std::unexpected(os_error(errno, path_));
      if (got == 0) break;
      done += static_cast<size_t>(got);
    }
    return done;
  }

 private:
  int fd_;
  std::string path_;
};

// A buffer of compressed bytes that are still to be decoded.
class Feed {
 public:
  explicit Feed(std::unique_ptr<Input> input) : input_(std::move(input)), buffer_(kInputBytes) {}
  // Makes at least `n` bytes available, or all there are.
  Result<> want(size_t n) {
    while (size_ - at_ < n && !ended_) {
      std::memmove(buffer_.data(), buffer_.data() + at_, size_ - at_);
      size_ -= std::exchange(at_, 0);
      const size_t got = TRY(input_->read(buffer_.data() + size_, buffer_.size() - size_));
      ended_ = got == 0;
      size_ += got;
      total_ += got;
    }
    return {};
  }
  std::string_view bytes() const { return {buffer_.data() + at_, size_ - at_}; }
  void take(size_t n) { at_ += n; }
  uint64_t total() const { return total_; }

 private:
  std::unique_ptr<Input> input_;
  std::vector<char> buffer_;
  size_t at_ = 0, size_ = 0;
  std::atomic<uint64_t> total_ = 0;
  bool ended_ = false;
};

class Decoder {
 public:
  virtual ~Decoder() = default;
  // Up to `n` bytes; none at the end.
  virtual Result<size_t> decode(Feed& feed, char* to, size_t n) = 0;
  std::string broken;  // why the stream ended too early
};

class PlainDecoder : public Decoder {
 public:
  Result<size_t> decode(Feed& feed, char* to, size_t n) override {
    TRY(feed.want(1));
    n = std::min(n, feed.bytes().size());
    std::memcpy(to, feed.bytes().data(), n);
    feed.take(n);
    return n;
  }
};

class GzipDecoder : public Decoder {
 public:
  GzipDecoder() { CHECK(inflateInit2(&stream_, 15 + 16) == Z_OK, "zlib: no memory"); }
  GzipDecoder(const GzipDecoder&) = delete;
  GzipDecoder& operator=(const GzipDecoder&) = delete;
  ~GzipDecoder() override { inflateEnd(&stream_); }

  Result<size_t> decode(Feed& feed, char* to, size_t n) override {
    stream_.next_out = reinterpret_cast<Bytef*>(to);
    stream_.avail_out = static_cast<uInt>(n);
    while (stream_.avail_out == n && !ended_) {
      TRY(feed.want(in_member_ ? 1 : 2));
      const std::string_view in = feed.bytes();
      if (!in_member_) {
        if (compression_of(in) != Compression::kGzip) break;
        inflateReset(&stream_);
        in_member_ = true;
      }
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
      stream_.avail_in = static_cast<uInt>(in.size());
      const int status = inflate(&stream_, Z_NO_FLUSH);
      feed.take(in.size() - stream_.avail_in);
      if (status == Z_STREAM_END) in_member_ = false;
      if (status != Z_OK && status != Z_STREAM_END) {
        ended_ = true;
        broken = in.empty() ? "the gzip stream breaks off" : "the gzip stream is broken";
      }
    }
    return n - stream_.avail_out;
  }

 private:
  z_stream stream_{};
  bool in_member_ = false, ended_ = false;
};

class ZstdDecoder : public Decoder {
 public:
  ZstdDecoder() : stream_(ZSTD_createDStream()) { CHECK(stream_ != nullptr, "zstd: no memory"); }
  ZstdDecoder(const ZstdDecoder&) = delete;
  ZstdDecoder& operator=(const ZstdDecoder&) = delete;
  ~ZstdDecoder() override { ZSTD_freeDStream(stream_); }

  Result<size_t> decode(Feed& feed, char* to, size_t n) override {
    ZSTD_outBuffer out{to, n, 0};
    while (out.pos == 0 && !ended_) {
      TRY(feed.want(in_frame_ ? 1 : 4));
      const std::string_view bytes = feed.bytes();
      if (!in_frame_ && compression_of(bytes) != Compression::kZstd) break;
      in_frame_ = true;
      ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
      const size_t status = ZSTD_decompressStream(stream_, &out, &in);
      feed.take(in.pos);
      if (status == 0) in_frame_ = false;
      const bool starved = bytes.empty() && out.pos == 0 && in_frame_;
      if (ZSTD_isError(status) != 0 || starved) {
        ended_ = true;
        broken = starved ? "the zstd stream breaks off" : "the zstd stream is broken";
      }
    }
    return out.pos;
  }

 private:
  ZSTD_DStream* stream_;
  bool in_frame_ = false, ended_ = false;
};

std::unique_ptr<Decoder> decoder_for(Compression compression) {
  switch (compression) {
    case Compression::kGzip: return std::make_unique<GzipDecoder>();
    case Compression::kZstd: return std::make_unique<ZstdDecoder>();
    case Compression::kNone: break;
  }
  return std::make_unique<PlainDecoder>();
}

class StreamSource : public Source {
 public:
  StreamSource(std::unique_ptr<Input> input, std::optional<Compression> compression,
               std::optional<uint64_t> file_bytes)
      : feed_(std::move(input)), file_bytes_(file_bytes) {
    if (!compression) {
      Result<> first = feed_.want(4);
      if (!first) error_ = std::move(first).error();
      compression = compression_of(feed_.bytes());
    }
    compression_ = *compression;
    thread_ = std::jthread([this] { produce(); });
  }
  StreamSource(const StreamSource&) = delete;
  StreamSource& operator=(const StreamSource&) = delete;
  ~StreamSource() override {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
  }

  Result<size_t> read(uint64_t offset, char* to, size_t n) override {
    CHECK(offset == offset_, "a stream is read in order");
    size_t done = 0;
    while (done < n) {
      if (at_ == block_.size() && !next_block()) break;
      const size_t part = std::min(n - done, block_.size() - at_);
      std::memcpy(to + done, block_.data() + at_, part);
      at_ += part;
      done += part;
    }
    offset_ += done;
    if (done == 0 && error_) return std::unexpected(*error_);
    return done;
  }
  bool random() const override { return false; }
  std::optional<uint64_t> size() const override { return {}; }
  uint64_t file_bytes_read() const override { return feed_.total(); }
  uint64_t file_bytes() const override { return file_bytes_.value_or(feed_.total()); }
  Compression compression() const override { return compression_; }
  std::string broken() const override {
    const std::lock_guard lock(mutex_);
    return broken_;
  }

 private:
  void produce() {
    const std::unique_ptr<Decoder> decoder = decoder_for(compression_);
    for (;;) {
      std::vector<char> block(kBlockBytes);
      Result<size_t> got = decoder->decode(feed_, block.data(), block.size());
      const bool last = !got || *got == 0;
      block.resize(got ? *got : 0);
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return stop_ || blocks_.size() < kBlocksMax; });
      if (!got && !error_) error_ = std::move(got).error();
      if (last) broken_ = decoder->broken;
      ended_ = ended_ || last;
      if (!last) blocks_.push_back(std::move(block));
      const bool done = last || stop_;
      lock.unlock();
      changed_.notify_all();
      if (done) return;
    }
  }

  bool next_block() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_ || !blocks_.empty(); });
    if (blocks_.empty()) return false;
    block_ = std::move(blocks_.front());
    at_ = 0;
    blocks_.pop_front();
    lock.unlock();
    changed_.notify_all();
    return true;
  }

  Feed feed_;
  std::optional<uint64_t> file_bytes_;
  Compression compression_ = Compression::kNone;
  uint64_t offset_ = 0;
  std::vector<char> block_;  // being read
  size_t at_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::vector<char>> blocks_;  // the rest is guarded by mutex_
  std::optional<Error> error_;
  std::string broken_;
  bool ended_ = false, stop_ = false;
  std::jthread thread_;  // last: it uses all of the above
};

}  // namespace

Compression compression_of(std::string_view first_bytes) {
  if (first_bytes.starts_with("\x1f\x8b")) return Compression::kGzip;
  if (first_bytes.starts_with("\x28\xb5\x2f\xfd")) return Compression::kZstd;
  // A skippable frame, 0x184d2a50 to 0x184d2a5f.
  if (first_bytes.size() >= 4 && (first_bytes[0] & 0xf0) == 0x50 &&
      first_bytes.substr(1, 3) == "\x2a\x4d\x18") {
    return Compression::kZstd;
  }
  return Compression::kNone;
}

std::unique_ptr<Source> decompress(std::unique_ptr<Source> from, Compression compression) {
  const uint64_t bytes = from->file_bytes();
  return std::make_unique<StreamSource>(std::make_unique<SourceInput>(std::move(from)), compression,
                                        bytes);
}

std::unique_ptr<Source> read_pipe(int fd, const std::string& path) {
  return std::make_unique<StreamSource>(std::make_unique<PipeInput>(fd, path), std::nullopt,
                                        std::nullopt);
}

}  // namespace hadal::trace
