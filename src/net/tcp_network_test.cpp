#include "net/tcp_network.h"

#include <algorithm>
#include <optional>

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "base/crc32c.h"
#include "net/frame.h"
#include "net/rpc.h"
#include "net/testing.h"

namespace hadal::net {
namespace {

struct EchoMessage {
  std::string text = {};
  static void fields(auto& self, auto& visit) { visit(self.text, at_most(1 << 20)); }
};

struct EchoRequest {
  static constexpr uint16_t kMethod = 7;
  static constexpr std::string_view kName = "echo";
  using Response = EchoMessage;
  std::string text = {};
  std::optional<BulkHandle> handle = {};
  static void fields(auto& self, auto& visit) {
    visit(self.text, at_most(1 << 20));
    visit(self.handle);
  }
};

std::unique_ptr<Transport> make(io::EventLoop& loop, const std::string& name,
                                int64_t lost_after_ns = 5 * kSecond) {
  std::vector<std::unique_ptr<StreamNetwork>> networks;
  networks.push_back(tcp_network(loop));
  return make_transport(loop,
                        {.self = {system_key(), name},
                         .random_key = system_key,
                         .ping_after_ns = std::min(kSecond, lost_after_ns / 4),
                         .lost_after_ns = lost_after_ns},
                        std::move(networks));
}

Deadline soon(Executor& executor) {
  return Deadline::after(executor.clock(), 30 * kSecond);
}

/// Runs `body` beside a server that echoes and reverses exposed memory.
void with_server(std::string_view place,
                 const std::function<void(io::EventLoop&, std::string address)>& body,
                 int64_t lost_after_ns = 5 * kSecond) {
  io::EventLoop loop;
  loop.run([&] {
    const auto transport = make(loop, "server", lost_after_ns);
    Server server(*transport);
    server.on<EchoRequest>([&](const EchoRequest& request, Call& call) -> Result<EchoMessage> {
      if (request.handle) {
        std::vector<std::byte> bytes(request.handle->bytes);
        Connection& from = call.session().connection();
        TRY(from.pull(*request.handle, 0, bytes, call.deadline()));
        std::ranges::reverse(bytes);
        TRY(from.push(*request.handle, 0, bytes, call.deadline()));
      }
      return EchoMessage{request.text};
    });
    const auto listening = server.listen(place);
    if (!listening) {
      GTEST_SKIP() << listening.error().message;
      return;
    }
    body(loop, server.addresses().at(0));
    server.stop(soon(loop));
  });
}

class Tcp : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Families, Tcp, testing::Values("tcp:127.0.0.1:0", "tcp:[::1]:0"));

TEST_P(Tcp, CallsAndBulk) {
  with_server(GetParam(), [](io::EventLoop& loop, const std::string& address) {
    const auto transport = make(loop, "client");
    Client client(*transport, address);
    for (const size_t size : {0, 1, 1000, 100'000, 1'000'000}) {
      const auto response = client.call(EchoRequest{.text = std::string(size, 'x')}, soon(loop));
      ASSERT_TRUE(response) << response.error().message;
      EXPECT_EQ(response->text.size(), size);
    }
    Rng rng(1);
    int ended = 0;
    for (int i = 0; i < 4; ++i) {
      loop.spawn("bulk", [&] {
        const std::vector<std::byte> original = random_bytes(rng, 1 + rng.below(9'000'000));
        std::vector<std::byte> memory = original;
        const Exposure exposure = transport->expose(memory, Access::kReadWrite);
        const auto response = client.call(EchoRequest{.handle = exposure.handle()}, soon(loop));
        EXPECT_TRUE(response) << response.error().message;
        std::ranges::reverse(memory);
        EXPECT_EQ(memory, original);
        ++ended;
      });
    }
    while (ended < 4) sleep_fiber(kMillisecond);
  });
}

TEST(TcpNetwork, PlacesThatAreNone) {
  io::EventLoop loop;
  loop.run([&] {
    const auto transport = make(loop, "client");
    for (const std::string_view place : {"", ":", ":1", "1.2.3.4", "1.2.3.4:", "1.2.3.4:99999",
                                         "1.2.3.4:x", "name:80", "[::1:80", "[]:80", "[::1]"}) {
      const auto result = transport->connect("tcp:" + std::string(place), soon(loop));
      EXPECT_EQ(result.error().code, Code::kInvalidArgument) << place;
      EXPECT_FALSE(transport->listen("tcp:" + std::string(place), [](const auto&) {})) << place;
    }
    std::string address;
    {
      const auto listener = *transport->listen("tcp:127.0.0.1:0", [](const auto&) {});
      address = listener->address();
      EXPECT_EQ(transport->listen(address, [](const auto&) {}).error().code, Code::kAlreadyExists);
    }
    EXPECT_EQ(transport->connect(address, soon(loop)).error().code, Code::kUnavailable);
  });
}

TEST(TcpNetwork, AConnectionThatNobodyAcceptsTimesOut) {
  io::EventLoop loop;
  loop.run([&] {
    const auto network = tcp_network(loop);
    const auto deaf = *network->listen("127.0.0.1:0", [](const auto&) {});  // streams are dropped
    std::vector<std::unique_ptr<Stream>> kept;
    const auto mute =
        *network->listen("127.0.0.1:0", [&](auto s) { kept.push_back(std::move(s)); });
    const auto transport = make(loop, "client", 400 * kMillisecond);
    EXPECT_EQ(transport->connect("tcp:" + deaf->place(), soon(loop)).error().code,
              Code::kUnavailable);
    EXPECT_EQ(transport->connect("tcp:" + mute->place(), soon(loop)).error().code,
              Code::kUnavailable);  // no word from the peer
    EXPECT_EQ(
        transport->connect("tcp:" + mute->place(), Deadline::after(loop.clock(), 10 * kMillisecond))
            .error()
            .code,
        Code::kTimeout);
  });
}

/// What a stranger says, and whether the server then says goodbye, or nothing more.
void hostile(const std::vector<std::byte>& bytes, size_t at_a_time) {
  with_server(
      "tcp:127.0.0.1:0",
      [&](io::EventLoop& loop, const std::string& address) {
        const auto network = tcp_network(loop);
        auto stream = *network->connect(address.substr(4), soon(loop));
        FiberEvent ended;
        stream->start([&] {
          std::array<std::byte, 1000> reply;
          Result<size_t> n = 1;
          while (n && *n > 0) n = stream->read(reply, {});
          if (!n) ended.set();
        });
        for (size_t i = 0; i < bytes.size() && !ended.is_set(); i += at_a_time) {
          const Bytes piece = Bytes(bytes).subspan(i, std::min(at_a_time, bytes.size() - i));
          if (!stream->write(std::span(&piece, 1))) break;
          sleep_fiber(kMillisecond / 10);
        }
        EXPECT_TRUE(ended.wait(soon(loop)));
        // Others are not disturbed.
        const auto transport = make(loop, "client");
        Client client(*transport, address);
        EXPECT_TRUE(client.call(EchoRequest{.text = "well"}, soon(loop)));
        stream.reset();
      },
      400 * kMillisecond);
}

std::vector<std::byte> frame(FrameKind kind, uint32_t sequence, uint32_t announced,
                             std::vector<std::byte> payload) {
  std::vector<std::byte> bytes(kHeaderBytes);
  write_header({kind, 1, sequence, announced, crc32c::value(payload)},
               std::span<std::byte, kHeaderBytes>(bytes.data(), kHeaderBytes));
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

TEST(TcpNetwork, StrangersAreCutOff) {
  Rng rng(1);
  hostile({}, 1);                              // says nothing
  hostile(random_bytes(rng, 20'000), 20'000);  // garbage
  const std::string_view http = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
  const Bytes text = bytes_of(http);
  hostile({text.begin(), text.end()}, 7);
  hostile(frame(FrameKind::kHello, 0, 0xffffffff, {}), 32);                     // a huge length
  hostile(frame(FrameKind::kMessage, 0, 1 << 20, {}), 32);                      // before its hello
  hostile(frame(FrameKind::kHello, 5, 0, {}), 32);                              // a wrong number
  hostile(frame(FrameKind::kHello, 0, 2, {std::byte{7}, std::byte{9}}), 32);    // versions 7 to 9
  hostile(frame(FrameKind::kHello, 0, 500, std::vector<std::byte>(499)), 531);  // not all of it
}

}  // namespace
}  // namespace hadal::net
