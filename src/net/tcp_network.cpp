#include "net/tcp_network.h"

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

#include <arpa/inet.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/check.h"

namespace hadal::net {
namespace {

constexpr int kBacklog = 1024;
constexpr int kAcceptsPerTurn = 64;
constexpr int64_t kOutOfFilesNs = 100 * kMillisecond;  // until accepting is tried again
constexpr size_t kPiecesMax = 4;

struct Address {
  sockaddr_storage storage = {};
  socklen_t bytes = sizeof(sockaddr_storage);

  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
  std::string text() const;
};

std::string Address::text() const {
  char host[INET6_ADDRSTRLEN] = "?";
  if (family() == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(storage);
    inet_ntop(AF_INET6, &v6.sin6_addr, host, sizeof host);
    return fmt::format("[{}]:{}", host, ntohs(v6.sin6_port));
  }
  const auto& v4 = reinterpret_cast<const sockaddr_in&>(storage);
  inet_ntop(AF_INET, &v4.sin_addr, host, sizeof host);
  return fmt::format("{}:{}", host, ntohs(v4.sin_port));
}

Result<Address> parse(std::string_view place) {
  const auto wrong = [&] {
    return fail(
        Code::kInvalidArgument,
        fmt::format("\"{}\" is no place; it must be like 10.0.0.7:9000 or [::1]:9000", place));
  };
  const size_t colon = place.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return wrong();
  const std::string_view digits = place.substr(colon + 1);
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size()) return wrong();
  std::string host(place.substr(0, colon));
  Address address;
  if (host.front() == '[' && host.back() == ']') {
    auto& v6 = reinterpret_cast<sockaddr_in6&>(address.storage);
    host = host.substr(1, host.size() - 2);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    address.bytes = sizeof v6;
    if (inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) != 1) return wrong();
  } else {
    auto& v4 = reinterpret_cast<sockaddr_in&>(address.storage);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    address.bytes = sizeof v4;
    if (inet_pton(AF_INET, host.c_str(), &v4.sin_addr) != 1) return wrong();
  }
  return address;
}

/// A descriptor, watched or not.
class Socket {
 public:
  Socket(io::EventLoop& loop, int fd) : loop_(loop), fd_(fd) {}
  ~Socket() {
    if (fd_ < 0) return;
    if (watched_) loop_.unwatch(fd_);
    ::close(fd_);
  }
  Socket(Socket&& other) noexcept
      : loop_(other.loop_), fd_(std::exchange(other.fd_, -1)), watched_(other.watched_) {}
  Socket& operator=(Socket&&) = delete;

  static Result<Socket> open(io::EventLoop& loop, int family) {
    const int fd = ::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return std::unexpected(os_error(errno, "socket"));
    return Socket(loop, fd);
  }

  io::EventLoop& loop() const { return loop_; }
  int fd() const { return fd_; }
  void watch(uint32_t events, io::EventLoop::Ready ready) {
    loop_.watch(fd_, events, std::move(ready));
    watched_ = true;
  }
  void unwatch() {
    if (std::exchange(watched_, false)) loop_.unwatch(fd_);
  }
  void set(int level, int option, int value) const {
    // An option that the system refuses costs speed, nothing else.
    (void)::setsockopt(fd_, level, option, &value, sizeof value);
  }

 private:
  io::EventLoop& loop_;
  int fd_;
  bool watched_ = false;
};

Error lost(int error) {
  return {Code::kUnavailable, std::string(std::strerror(error))};
}

class TcpStream final : public Stream {
 public:
  TcpStream(Socket socket, std::string peer) : socket_(std::move(socket)), peer_(std::move(peer)) {
    socket_.set(IPPROTO_TCP, TCP_NODELAY, 1);
  }

  void start(std::function<void()> ready) override {
    ready_ = std::make_shared<std::function<void()>>(std::move(ready));
    // Edges: the loop reports each event once.
    socket_.watch(EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, [this](uint32_t events) {
      ended_ |= (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
      (*ready_)();
    });
  }

  Result<size_t> write(std::span<const Bytes> pieces) override {
    CHECK(pieces.size() <= kPiecesMax);
    std::array<iovec, kPiecesMax> vector;
    for (size_t i = 0; i < pieces.size(); ++i) {
      vector[i] = {const_cast<std::byte*>(pieces[i].data()), pieces[i].size()};
    }
    msghdr message = {};
    message.msg_iov = vector.data();
    message.msg_iovlen = pieces.size();
    const ssize_t n = ::sendmsg(socket_.fd(), &message, MSG_NOSIGNAL);
    if (n >= 0) return static_cast<size_t>(n);
    if (errno == EAGAIN || errno == EINTR || errno == ENOBUFS) return 0;
    return std::unexpected(lost(errno));
  }

  Result<size_t> read(std::span<std::byte> first, std::span<std::byte> second) override {
    const std::array<iovec, 2> vector = {iovec{first.data(), first.size()},
                                         iovec{second.data(), second.size()}};
    const ssize_t n = ::readv(socket_.fd(), vector.data(), second.empty() ? 1 : 2);
    if (n == 0) return fail(Code::kUnavailable, "the peer has closed the connection");
    if (n < 0 && errno != EAGAIN && errno != EINTR) return std::unexpected(lost(errno));
    if (n < 0) {
      return 0;
    }
    // The end was reported already and comes behind these bytes: there will be no event for it.
    if (ended_ && static_cast<size_t>(n) < first.size() + second.size()) {
      socket_.loop().post([weak = std::weak_ptr(ready_)] {
        if (const auto ready = weak.lock()) (*ready)();
      });
    }
    return static_cast<size_t>(n);
  }

  std::string peer() const override { return peer_; }

 private:
  Socket socket_;
  const std::string peer_;
  std::shared_ptr<std::function<void()>> ready_;
  bool ended_ = false;
};

class TcpListener final : public StreamListener {
 public:
  TcpListener(Socket socket, std::string place, StreamNetwork::Accept accept)
      : socket_(std::move(socket)), place_(std::move(place)), accept_(std::move(accept)) {
    socket_.watch(EPOLLIN, [this](uint32_t) { accept_some(); });
  }
  ~TcpListener() override { socket_.loop().stop_timer(timer_); }

  std::string place() const override { return place_; }

 private:
  void accept_some() {
    for (int i = 0; i < kAcceptsPerTurn; ++i) {
      Address peer;
      const int fd = ::accept4(socket_.fd(), peer.get(), &peer.bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        accept_(std::make_unique<TcpStream>(Socket(socket_.loop(), fd), peer.text()));
      } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        return pause();
      } else if (errno == EAGAIN) {
        return;
      }  // else this one connection failed before it was accepted
    }
  }

  /// Who waits keeps waiting in the backlog.
  void pause() {
    io::EventLoop& loop = socket_.loop();
    loop.watch_for(socket_.fd(), 0);
    timer_ = loop.start_timer(loop.now_ns() + kOutOfFilesNs,
                              [this] { socket_.loop().watch_for(socket_.fd(), EPOLLIN); });
  }

  Socket socket_;
  const std::string place_;
  const StreamNetwork::Accept accept_;
  TimerId timer_ = 0;
};

class TcpNetwork final : public StreamNetwork {
 public:
  explicit TcpNetwork(io::EventLoop& loop) : loop_(loop) {}

  std::string_view scheme() const override { return "tcp"; }

  Result<std::unique_ptr<Stream>> connect(std::string_view place, Deadline deadline) override {
    Address address = TRY(parse(place));
    Socket socket = TRY(Socket::open(loop_, address.family()));
    if (::connect(socket.fd(), address.get(), address.bytes) != 0) {
      if (errno != EINPROGRESS) return std::unexpected(lost(errno));
      FiberEvent connected;
      socket.watch(EPOLLOUT, [&connected](uint32_t) { connected.set(); });
      const bool in_time = connected.wait(deadline);
      socket.unwatch();
      if (!in_time) return fail(Code::kTimeout, "the deadline passed while connecting");
      int error = 0;
      socklen_t bytes = sizeof error;
      CHECK(::getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &bytes) == 0);
      if (error != 0) return std::unexpected(lost(error));
    }
    return std::make_unique<TcpStream>(std::move(socket), address.text());
  }

  Result<std::unique_ptr<StreamListener>> listen(std::string_view place, Accept accept) override {
    Address address = TRY(parse(place));
    Socket socket = TRY(Socket::open(loop_, address.family()));
    socket.set(SOL_SOCKET, SO_REUSEADDR, 1);
    if (address.family() == AF_INET6) socket.set(IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (::bind(socket.fd(), address.get(), address.bytes) != 0 ||
        ::listen(socket.fd(), kBacklog) != 0) {
      if (errno == EADDRINUSE) return fail(Code::kAlreadyExists, "the port is taken");
      return std::unexpected(os_error(errno, "listen"));
    }
    Address bound;
    CHECK(::getsockname(socket.fd(), bound.get(), &bound.bytes) == 0);
    return std::make_unique<TcpListener>(std::move(socket), bound.text(), std::move(accept));
  }

 private:
  io::EventLoop& loop_;
};

}  // namespace

std::unique_ptr<StreamNetwork> tcp_network(io::EventLoop& loop) {
  return std::make_unique<TcpNetwork>(loop);
}

}  // namespace hadal::net
