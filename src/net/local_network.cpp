#include "net/local_network.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/core.h>

namespace hadal::net {
namespace {

constexpr size_t kPipeBytes = 512 * 1024;

/// One direction of a stream: a ring of bytes.
struct Pipe {
  std::unique_ptr<std::byte[]> ring = std::make_unique_for_overwrite<std::byte[]>(kPipeBytes);
  uint64_t written = 0, read = 0;
  bool ended = false;    // by either side
  bool blocked = false;  // a write found too little room
  std::function<void()> reader_ready = {}, writer_ready = {};

  /// Calls copy(in the ring, bytes done, bytes) for one or two runs from `at` on.
  template <typename Copy>
  void runs(uint64_t at, size_t bytes, Copy copy) {
    const size_t start = at % kPipeBytes;
    const size_t first = std::min(bytes, kPipeBytes - start);
    copy(ring.get() + start, size_t{0}, first);
    if (bytes > first) copy(ring.get(), first, bytes - first);
  }
};

/// A callback in a task of its own, if somebody still has it then.
void post_ready(Executor& executor, const std::shared_ptr<Pipe>& pipe,
                std::function<void()> Pipe::* ready) {
  executor.post([weak = std::weak_ptr(pipe), ready] {
    const auto pipe = weak.lock();
    if (pipe == nullptr || !((*pipe).*ready)) return;
    const auto call = (*pipe).*ready;  // it may be taken away meanwhile
    call();
  });
}

class LocalStream final : public Stream {
 public:
  LocalStream(Executor& executor, std::shared_ptr<Pipe> in, std::shared_ptr<Pipe> out,
              std::string peer)
      : executor_(executor), in_(std::move(in)), out_(std::move(out)), peer_(std::move(peer)) {}

  ~LocalStream() override {
    in_->reader_ready = out_->writer_ready = nullptr;
    in_->ended = out_->ended = true;
    post_ready(executor_, out_, &Pipe::reader_ready);
    post_ready(executor_, in_, &Pipe::writer_ready);
  }

  void start(std::function<void()> ready) override {
    in_->reader_ready = out_->writer_ready = std::move(ready);
    post_ready(executor_, in_, &Pipe::reader_ready);
  }

  Result<size_t> write(std::span<const Bytes> pieces) override {
    if (out_->ended) return ended();
    size_t total = 0;
    for (const Bytes piece : pieces) {
      const size_t n = std::min<size_t>(piece.size(), kPipeBytes - (out_->written - out_->read));
      out_->runs(out_->written, n, [&](std::byte* ring, size_t done, size_t bytes) {
        std::memcpy(ring, piece.data() + done, bytes);
      });
      out_->written += n;
      total += n;
      out_->blocked = n < piece.size();
      if (out_->blocked) break;
    }
    if (total > 0) post_ready(executor_, out_, &Pipe::reader_ready);
    return total;
  }

  Result<size_t> read(std::span<std::byte> first, std::span<std::byte> second) override {
    size_t total = 0;
    for (const std::span<std::byte> to : {first, second}) {
      if (to.empty()) continue;
      const size_t n = std::min<size_t>(to.size(), in_->written - in_->read);
      in_->runs(in_->read, n, [&](const std::byte* ring, size_t done, size_t bytes) {
        std::memcpy(to.data() + done, ring, bytes);
      });
      in_->read += n;
      total += n;
    }
    if (total == 0 && in_->ended) return ended();
    if (total > 0 && std::exchange(in_->blocked, false)) {
      post_ready(executor_, in_, &Pipe::writer_ready);
    }
    return total;
  }

  std::string peer() const override { return peer_; }

 private:
  static std::unexpected<Error> ended() {
    return fail(Code::kUnavailable, "the peer has closed the connection");
  }

  Executor& executor_;
  const std::shared_ptr<Pipe> in_, out_;
  const std::string peer_;
};

}  // namespace

struct LocalNetwork::Names {
  Executor& executor;
  std::map<std::string, StreamNetwork::Accept, std::less<>> listening = {};
};

class LocalNetwork::Listening final : public StreamListener {
 public:
  Listening(std::shared_ptr<Names> names, std::string name)
      : names_(std::move(names)), name_(std::move(name)) {}
  ~Listening() override { names_->listening.erase(name_); }
  std::string place() const override { return name_; }

 private:
  const std::shared_ptr<Names> names_;
  const std::string name_;
};

class LocalNetwork::Port final : public StreamNetwork {
 public:
  explicit Port(std::shared_ptr<Names> names) : names_(std::move(names)) {}

  std::string_view scheme() const override { return "local"; }

  Result<std::unique_ptr<Stream>> connect(std::string_view place, Deadline /*deadline*/) override {
    const auto it = names_->listening.find(place);
    if (it == names_->listening.end()) {
      return fail(Code::kUnavailable, "nobody listens there");
    }
    const auto there = std::make_shared<Pipe>(), back = std::make_shared<Pipe>();
    const StreamNetwork::Accept accept = it->second;
    accept(std::make_unique<LocalStream>(names_->executor, there, back, "caller"));
    return std::make_unique<LocalStream>(names_->executor, back, there, std::string(place));
  }

  Result<std::unique_ptr<StreamListener>> listen(std::string_view place, Accept accept) override {
    const std::string name(place);
    if (!names_->listening.emplace(name, std::move(accept)).second) {
      return fail(Code::kAlreadyExists, fmt::format("local:{} is taken", name));
    }
    return std::make_unique<Listening>(names_, name);
  }

 private:
  const std::shared_ptr<Names> names_;
};

LocalNetwork::LocalNetwork(Executor& executor) : names_(std::make_shared<Names>(Names{executor})) {}
LocalNetwork::~LocalNetwork() = default;

std::unique_ptr<StreamNetwork> LocalNetwork::port() {
  return std::make_unique<Port>(names_);
}

}  // namespace hadal::net
