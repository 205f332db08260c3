// A peer that says anything: arbitrary bytes, well-formed frames in any order, calls and bulk
// requests, in arbitrary splits. The connection must end, its handler must be told once, and
// nothing else may happen. The first bytes of the input choose the splits, each of the others is a
// piece of what the peer says.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <tuple>
#include <vector>

#include "base/check.h"
#include "base/crc32c.h"
#include "net/frame.h"
#include "net/rpc.h"
#include "net/stream.h"
#include "net/test_messages.h"
#include "net/testing.h"

namespace hadal::net {
namespace {

struct FuzzRequest {
  static constexpr uint16_t kMethod = 1;
  static constexpr std::string_view kName = "fuzz";
  using Response = Nested;
  Simple simple = {};
  static void fields(auto& self, auto& visit) { visit(self.simple); }
};

/// Says what it was given, and takes what it is told, in random portions.
class FuzzStream final : public Stream {
 public:
  FuzzStream(std::vector<std::byte> says, Rng rng) : says_(std::move(says)), rng_(rng) {}

  void start(std::function<void()> ready) override {
    ready_ = std::make_shared<std::function<void()>>(std::move(ready));
    call();
  }
  Result<size_t> write(std::span<const Bytes> pieces) override {
    size_t bytes = 0;
    for (const Bytes piece : pieces) bytes += piece.size();
    const size_t taken = rng_.chance(0.9) ? bytes : rng_.below(bytes + 1);
    if (taken < bytes) call();
    return taken;
  }
  Result<size_t> read(std::span<std::byte> first, std::span<std::byte> second) override {
    const size_t left = says_.size() - said_;
    size_t n = std::min(left, first.size() + second.size());
    if (rng_.chance(0.5)) n = std::min<size_t>(n, rng_.below(40));
    const size_t of_first = std::min(n, first.size());
    std::copy_n(says_.begin() + static_cast<ptrdiff_t>(said_), of_first, first.begin());
    std::copy_n(says_.begin() + static_cast<ptrdiff_t>(said_ + of_first), n - of_first,
                second.begin());
    said_ += n;
    if (n < left) call();
    return n;
  }
  std::string peer() const override { return "fuzz"; }

 private:
  void call() {
    this_process->post([weak = std::weak_ptr(ready_)] {
      if (const auto ready = weak.lock()) (*ready)();
    });
  }

 public:
  sim::Process* this_process = nullptr;

 private:
  const std::vector<std::byte> says_;
  size_t said_ = 0;
  Rng rng_;
  std::shared_ptr<std::function<void()>> ready_;
};

class FuzzNetwork final : public StreamNetwork {
 public:
  explicit FuzzNetwork(std::unique_ptr<FuzzStream> stream) : stream_(std::move(stream)) {}
  std::string_view scheme() const override { return "fuzz"; }
  Result<std::unique_ptr<Stream>> connect(std::string_view /*place*/,
                                          Deadline /*deadline*/) override {
    return std::move(stream_);
  }
  Result<std::unique_ptr<StreamListener>> listen(std::string_view /*place*/,
                                                 Accept /*accept*/) override {
    return fail(Code::kUnsupported, "");
  }

 private:
  std::unique_ptr<FuzzStream> stream_;
};

/// What the peer says: frames are numbered and checked as they must be, unless raw bytes are meant.
std::vector<std::byte> script(Reader& in) {
  std::vector<std::byte> says;
  uint32_t sequence = 0;
  const auto frame = [&](FrameKind kind, uint64_t id, Bytes payload) {
    std::byte header[kHeaderBytes];
    write_header(
        {kind, id, sequence++, static_cast<uint32_t>(payload.size()), crc32c::value(payload)},
        header);
    says.insert(says.end(), header, header + kHeaderBytes);
    says.insert(says.end(), payload.begin(), payload.end());
  };
  while (in.remaining() > 0) {
    const uint8_t op = in.u8();
    const Bytes argument = in.bytes(std::min<size_t>(in.remaining(), op >> 2));
    switch (op & 3) {
      case 0: says.insert(says.end(), argument.begin(), argument.end()); break;
      case 1:
        if (argument.size() >= 2) {
          frame(FrameKind{static_cast<uint8_t>(argument[0])}, static_cast<uint64_t>(argument[1]),
                argument.subspan(2));
        }
        break;
      case 2: frame(FrameKind::kMessage, 0, argument); break;
      case 3: {  // a hello that is right
        std::vector<std::byte> hello;
        Encoder encoder(hello);
        encoder(kVersion);
        encoder(kVersion);
        encoder(Hash128{1, 2});
        encoder(std::string("fuzz"), at_most(255));
        encoder(uint64_t{kMessageBytesMax});
        frame(FrameKind::kHello, 0, hello);
      }
    }
  }
  CHECK(in.ok());
  return says;
}

void run(sim::Process& self, std::vector<std::byte> says, uint64_t seed) {
  auto stream = std::make_unique<FuzzStream>(std::move(says), Rng(seed));
  stream->this_process = &self;
  std::vector<std::unique_ptr<StreamNetwork>> networks;
  networks.push_back(std::make_unique<FuzzNetwork>(std::move(stream)));
  TransportOptions options = sim_options(self, "fuzzed");
  options.random_key = [] { return Hash128{1, 1}; };  // the peer may guess it
  const auto transport = make_transport(self, options, std::move(networks));
  std::vector<std::byte> memory(100);
  const Exposure exposure = transport->expose(memory, Access::kReadWrite);
  const auto connection = transport->connect("fuzz:peer", Deadline::after(self.clock(), kSecond));
  if (!connection) return;
  const auto methods = std::make_shared<Methods>(3);
  methods->add<FuzzRequest>([](const FuzzRequest& /*request*/, Call& call) -> Result<Nested> {
    call.wait_cancelled(Deadline::after(this_executor().clock(), kMillisecond));
    return Nested{};
  });
  const auto session = Session::start(self, *connection, methods);
  std::vector<std::byte> local(1000);
  std::ignore =
      (*connection)->pull({{1, 1}, 1000}, 0, local, Deadline::after(self.clock(), kSecond));
  std::ignore = session->call(FuzzRequest{}, Deadline::after(self.clock(), kSecond));
  std::ignore =
      (*connection)->push({{1, 1}, 1000}, 0, local, Deadline::after(self.clock(), kSecond));
  sleep_fiber(20 * kSecond);
  CHECK(!session->is_open(), "a peer that says nothing any more is not lost");
  CHECK(methods->calls() == 0, "a call does not end");
}

}  // namespace
}  // namespace hadal::net

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace hadal;
  using namespace hadal::net;
  if (size < 1 || size > 4096) return 0;
  Reader in(std::as_bytes(std::span(data, size)));
  const uint64_t seed = in.u8();
  const std::vector<std::byte> says = script(in);
  run_in_world([&](sim::Process& self) { net::run(self, says, seed); }, seed);
  return 0;
}
