// Calls and bulk data over loopback, each beside the same done with bare sockets in the same run.
//
// The server has a thread with an event loop of its own, the client another. "bare" is what the
// machine gives: an epoll loop that echoes 64 bytes, and a thread that writes 1 MiB after 1 MiB to
// a socket from which another reads. Targets: a call within 1.5 times the bare echo, bulk at 85 %
// of the bare stream.
#include <algorithm>
#include <array>
#include <atomic>
#include <ctime>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <benchmark/benchmark.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "net/rpc.h"
#include "net/tcp_network.h"

namespace hadal::net {
namespace {

constexpr size_t kSmallBytes = 64;
constexpr size_t kBulkBytes = size_t{1} << 20;
constexpr int kBulksAtOnce = 4;

struct Blob {
  std::string bytes = {};
  static void fields(auto& self, auto& visit) { visit(self.bytes, at_most(1000)); }
};

struct EchoRequest {
  static constexpr uint16_t kMethod = 1;
  static constexpr std::string_view kName = "echo";
  using Response = Blob;
  std::string bytes = {};
  static void fields(auto& self, auto& visit) { visit(self.bytes, at_most(1000)); }
};

struct HandleResponse {
  BulkHandle handle = {};
  static void fields(auto& self, auto& visit) { visit(self.handle); }
};

struct HandleRequest {
  static constexpr uint16_t kMethod = 2;
  static constexpr std::string_view kName = "handle";
  using Response = HandleResponse;
  static void fields(auto& /*self*/, auto& /*visit*/) {}
};

std::unique_ptr<Transport> make(io::EventLoop& loop) {
  std::vector<std::unique_ptr<StreamNetwork>> networks;
  networks.push_back(tcp_network(loop));
  return make_transport(loop, {.self = {system_key(), "bench"}, .random_key = system_key},
                        std::move(networks));
}

/// A server in a thread of its own.
class ServerThread {
 public:
  ServerThread() : thread_([this] { serve(); }) {
    while (!ready_) std::this_thread::yield();
  }
  ~ServerThread() {
    loop_.stop();
    thread_.join();
  }
  const std::string& address() const { return address_; }
  const std::vector<std::byte>& memory() const { return memory_; }

 private:
  void serve() {
    std::unique_ptr<Transport> transport;
    std::unique_ptr<Server> server;
    std::optional<Exposure> exposure;
    loop_.spawn("serve", [&] {
      transport = make(loop_);
      server = std::make_unique<Server>(*transport);
      exposure.emplace(transport->expose(memory_, Access::kReadWrite));
      server->on<EchoRequest>([](EchoRequest request, Call& /*call*/) -> Result<Blob> {
        return Blob{std::move(request.bytes)};
      });
      server->on<HandleRequest>([&](HandleRequest, Call& /*call*/) -> Result<HandleResponse> {
        return HandleResponse{exposure->handle()};
      });
      CHECK(server->listen("tcp:127.0.0.1:0"));
      address_ = server->addresses().at(0);
      ready_ = true;
    });
    loop_.run();
    loop_.stop_fibers();
  }

  io::EventLoop loop_;
  std::string address_;
  std::vector<std::byte> memory_ = std::vector<std::byte>(kBulkBytes, std::byte{7});
  std::atomic<bool> ready_ = false;
  std::thread thread_;
};

/// Runs `body` in a fiber beside clients of the server.
void with_clients(
    const ServerThread& server, int count,
    const std::function<void(io::EventLoop&, std::vector<std::unique_ptr<Client>>&)>& body) {
  io::EventLoop loop;
  loop.run([&] {
    const auto transport = make(loop);
    std::vector<std::unique_ptr<Client>> clients;
    for (int i = 0; i < count; ++i) {
      clients.push_back(std::make_unique<Client>(*transport, server.address()));
      CHECK(clients.back()->session(Deadline::after(loop.clock(), 10 * kSecond)));
    }
    body(loop, clients);
  });
}

double process_cpu_s() {
  timespec time = {};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

/// The best of some rounds, which take turns with those of something else: what other programs do
/// on the machine meanwhile is noise that only adds.
struct Best {
  double s = 1e9, cpu_s = 1e9;

  double round(const std::function<void()>& what) {
    const RealClock clock;
    const int64_t start_ns = clock.now_ns();
    const double cpu_before = process_cpu_s();
    what();
    const double took_s = 1e-9 * static_cast<double>(clock.now_ns() - start_ns);
    s = std::min(s, took_s);
    cpu_s = std::min(cpu_s, process_cpu_s() - cpu_before);
    return took_s;
  }
};

// --- bare sockets -----------------------------------------------------------------------------

struct SocketPair {
  int a = -1, b = -1;

  SocketPair() {
    const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t bytes = sizeof address;
    auto* const generic = reinterpret_cast<sockaddr*>(&address);
    CHECK(::bind(listener, generic, bytes) == 0 && ::listen(listener, 1) == 0 &&
          ::getsockname(listener, generic, &bytes) == 0);
    a = ::socket(AF_INET, SOCK_STREAM, 0);
    CHECK(::connect(a, generic, bytes) == 0);
    b = ::accept(listener, nullptr, nullptr);
    CHECK(b >= 0);
    ::close(listener);
    for (const int fd : {a, b}) {
      const int one = 1;
      CHECK(::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0);
    }
  }
  ~SocketPair() {
    ::close(a);
    ::close(b);
  }
};

void wait_readable(int epoll) {
  epoll_event event;
  CHECK(::epoll_wait(epoll, &event, 1, -1) == 1);
}

int epoll_of(int fd) {
  const int epoll = ::epoll_create1(0);
  epoll_event event = {};
  event.events = EPOLLIN;
  CHECK(::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
  return epoll;
}

/// `count` echoes of 64 bytes, one after another, with epoll on both sides.
void bare_echo(int64_t count) {
  const SocketPair sockets;
  const auto echo = [count](int fd, bool first) {
    const int epoll = epoll_of(fd);
    std::array<char, kSmallBytes> bytes = {};
    for (int64_t i = 0; i < count; ++i) {
      if (first) CHECK(::send(fd, bytes.data(), bytes.size(), 0) == kSmallBytes);
      wait_readable(epoll);
      CHECK(::recv(fd, bytes.data(), bytes.size(), 0) == kSmallBytes);
      if (!first) CHECK(::send(fd, bytes.data(), bytes.size(), 0) == kSmallBytes);
    }
    ::close(epoll);
  };
  std::thread server([&] { echo(sockets.b, false); });
  echo(sockets.a, true);
  server.join();
}

/// `count` times 1 MiB through a socket, into as many buffers as bulk_1m() has.
void bare_stream(int64_t count) {
  const SocketPair sockets;
  std::thread writer([&] {
    const std::vector<std::byte> data(kBulkBytes, std::byte{7});
    for (int64_t i = 0; i < count; ++i) {
      for (size_t at = 0; at < data.size();) {
        const ssize_t n = ::send(sockets.b, data.data() + at, data.size() - at, 0);
        CHECK(n > 0);
        at += static_cast<size_t>(n);
      }
    }
  });
  std::vector<std::vector<std::byte>> data(kBulksAtOnce, std::vector<std::byte>(kBulkBytes));
  for (int64_t i = 0; i < count; ++i) {
    void* const to = data[static_cast<size_t>(i % kBulksAtOnce)].data();
    CHECK(::recv(sockets.a, to, kBulkBytes, MSG_WAITALL) == ssize_t{kBulkBytes});
  }
  writer.join();
}

// --- benchmarks -------------------------------------------------------------------------------

void echo_once(io::EventLoop& loop, Client& client, const std::string& bytes) {
  const auto response =
      client.call(EchoRequest{bytes}, Deadline::after(loop.clock(), 10 * kSecond));
  CHECK(response && response->bytes == bytes, "an echo is not what was said");
}

/// One call after another. Counters: microseconds of a call, of a bare echo, and the ratio.
void call_64(benchmark::State& state) {
  const ServerThread server;
  Best calls, bare;
  constexpr int64_t kRound = 2000;
  with_clients(server, 1, [&](io::EventLoop& loop, auto& clients) {
    const std::string bytes(kSmallBytes, 'x');
    for (auto _ : state) {
      const double s = calls.round([&] {
        for (int64_t i = 0; i < kRound; ++i) echo_once(loop, *clients[0], bytes);
      });
      state.SetIterationTime(s / kRound);
      bare.round([&] { bare_echo(kRound); });
    }
  });
  state.counters["us"] = 1e6 * calls.s / kRound;
  state.counters["cpu_us"] = 1e6 * calls.cpu_s / kRound;  // of both sides
  state.counters["bare_us"] = 1e6 * bare.s / kRound;
  state.counters["bare_cpu_us"] = 1e6 * bare.cpu_s / kRound;
  state.counters["ratio"] = calls.s / bare.s;
}
BENCHMARK(call_64)->UseManualTime()->Iterations(10)->Unit(benchmark::kMicrosecond);

/// Calls of 64 bytes from fibers, `state.range(1)` for each of `state.range(0)` connections.
void calls_at_once(benchmark::State& state) {
  const ServerThread server;
  Best calls;
  const int64_t fibers = state.range(0) * state.range(1), round = 40'000 / fibers;
  with_clients(server, static_cast<int>(state.range(0)), [&](io::EventLoop& loop, auto& clients) {
    const std::string bytes(kSmallBytes, 'x');
    for (auto _ : state) {
      const double s = calls.round([&] {
        int64_t left = fibers;
        FiberEvent ended;
        for (int64_t f = 0; f < fibers; ++f) {
          Client& client = *clients[static_cast<size_t>(f % state.range(0))];
          loop.spawn("calls", [&, round] {
            for (int64_t i = 0; i < round; ++i) echo_once(loop, client, bytes);
            if (--left == 0) ended.set();
          });
        }
        ended.wait();
      });
      state.SetIterationTime(s);
    }
  });
  const auto count = static_cast<double>(fibers * round);
  state.counters["calls/s"] = count / calls.s;
  state.counters["cpu_us"] = 1e6 * calls.cpu_s / count;  // of both sides
}
BENCHMARK(calls_at_once)
    ->UseManualTime()
    ->Args({1, 64})
    ->Args({64, 1})
    ->Args({64, 4})
    ->Iterations(8)
    ->Unit(benchmark::kMillisecond);

/// 1 MiB at a time, four at once. Counters: GB/s, of a bare stream, and the share of it.
void bulk_1m(benchmark::State& state, bool push) {
  const ServerThread server;
  Best bulk, bare;
  constexpr int64_t kEach = 128, kBulks = kBulksAtOnce * kEach;
  with_clients(server, 1, [&](io::EventLoop& loop, auto& clients) {
    const auto deadline = [&] { return Deadline::after(loop.clock(), 30 * kSecond); };
    const std::shared_ptr<Session> session = *clients[0]->session(deadline());
    const BulkHandle handle = session->call(HandleRequest{}, deadline())->handle;
    const uint32_t crc = crc32c::value(server.memory());
    std::vector<std::vector<std::byte>> memory(kBulksAtOnce, server.memory());
    for (auto _ : state) {
      const double s = bulk.round([&] {
        int left = kBulksAtOnce;
        FiberEvent ended;
        for (int f = 0; f < kBulksAtOnce; ++f) {
          loop.spawn("bulk", [&, f] {
            auto& mine = memory[static_cast<size_t>(f)];
            for (int64_t i = 0; i < kEach; ++i) {
              Connection& connection = session->connection();
              const auto result = push ? connection.push(handle, 0, mine, deadline())
                                       : connection.pull(handle, 0, mine, deadline());
              CHECK(result && *result == crc, "other bytes than were exposed");
            }
            if (--left == 0) ended.set();
          });
        }
        ended.wait();
      });
      state.SetIterationTime(s);
      bare.round([&] { bare_stream(kBulks); });
    }
    CHECK(memory[0] == server.memory());
  });
  const double bytes = static_cast<double>(kBulks) * static_cast<double>(kBulkBytes);
  state.counters["GB/s"] = 1e-9 * bytes / bulk.s;
  state.counters["bare_GB/s"] = 1e-9 * bytes / bare.s;
  state.counters["share"] = bare.s / bulk.s;
  state.counters["cpu_us"] = 1e6 * bulk.cpu_s / kBulks;  // of both sides
  state.counters["bare_cpu_us"] = 1e6 * bare.cpu_s / kBulks;
}
BENCHMARK_CAPTURE(bulk_1m, pull, false)
    ->UseManualTime()
    ->Iterations(8)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(bulk_1m, push, true)
    ->UseManualTime()
    ->Iterations(8)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace hadal::net
