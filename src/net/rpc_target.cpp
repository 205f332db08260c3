#include "net/rpc_target.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "base/crc32c.h"
#include "base/hash.h"
#include "net/frame.h"
#include "net/rpc.h"
#include "net/sim_network.h"
#include "sim/world.h"

namespace hadal::net {
namespace {

constexpr int kServers = 2, kClients = 3;
constexpr size_t kServerCallsMax = 8;
constexpr int64_t kStepNs = 50 * kMillisecond;
constexpr int64_t kLatenessNs = 20 * kMillisecond;  // of who has to run first
constexpr int64_t kCalmCallNs = 10 * kSecond;

struct WorkResponse {
  uint64_t answer = 0;
  static void fields(auto& self, auto& visit) { visit(self.answer); }
};

struct WorkRequest {
  static constexpr uint16_t kMethod = 1;
  static constexpr std::string_view kName = "work";
  using Response = WorkResponse;
  uint64_t token = 0;
  uint64_t sleep_ns = 0;
  std::optional<BulkHandle> bulk = {};  // holds pattern(token); is to become pattern(~token)
  static void fields(auto& self, auto& visit) {
    visit(self.token);
    visit(self.sleep_ns);
    visit(self.bulk);
  }
};

std::vector<std::byte> pattern(uint64_t token, size_t bytes) {
  Rng rng(token);
  std::vector<std::byte> data((bytes + 7) / 8 * 8);
  for (size_t i = 0; i < data.size(); i += 8) store_le<uint64_t>(&data[i], rng.next());
  data.resize(bytes);
  return data;
}

// --- planted mistakes -------------------------------------------------------------------------

/// A stream that changes messages before they are written, and numbers frames anew, as software
/// with a mistake might.
class Tampering final : public Stream {
 public:
  /// Gives the messages to send in place of one.
  using Change = std::function<std::vector<std::vector<std::byte>>(Bytes message)>;

  Tampering(std::unique_ptr<Stream> inner, Change change)
      : inner_(std::move(inner)), change_(std::move(change)) {}

  void start(std::function<void()> ready) override {
    inner_->start([this, ready = std::move(ready)] {
      [[maybe_unused]] const Result<> drained = drain();  // an error comes again
      ready();
    });
  }
  Result<size_t> write(std::span<const Bytes> pieces) override {
    TRY(drain());
    if (!out_.empty()) return 0;
    size_t total = 0;
    for (const Bytes piece : pieces) {
      in_.insert(in_.end(), piece.begin(), piece.end());
      total += piece.size();
    }
    while (take_frame()) {
    }
    TRY(drain());
    return total;
  }
  Result<size_t> read(std::span<std::byte> first, std::span<std::byte> second) override {
    return inner_->read(first, second);
  }
  std::string peer() const override { return inner_->peer(); }

 private:
  Result<> drain() {
    if (out_.empty()) return {};
    const Bytes all = out_;
    const size_t n = TRY(inner_->write(std::span(&all, 1)));
    out_.erase(out_.begin(), out_.begin() + static_cast<ptrdiff_t>(n));
    return {};
  }

  bool take_frame() {
    if (in_.size() < kHeaderBytes) return false;
    const FrameHeader header = read_header(Bytes(in_).first<kHeaderBytes>()).value();
    if (in_.size() - kHeaderBytes < header.bytes) return false;
    const Bytes payload = Bytes(in_).subspan(kHeaderBytes, header.bytes);
    if (header.kind == FrameKind::kMessage) {
      for (const auto& message : change_(payload)) put(header, message, crc32c::value(message));
    } else {
      put(header, payload, header.crc);
    }
    in_.erase(in_.begin(), in_.begin() + static_cast<ptrdiff_t>(kHeaderBytes + header.bytes));
    return true;
  }

  void put(FrameHeader header, Bytes payload, uint32_t crc) {
    header.sequence = sequence_++;
    header.bytes = static_cast<uint32_t>(payload.size());
    header.crc = crc;
    std::byte bytes[kHeaderBytes];
    write_header(header, bytes);
    out_.insert(out_.end(), bytes, bytes + kHeaderBytes);
    out_.insert(out_.end(), payload.begin(), payload.end());
  }

  const std::unique_ptr<Stream> inner_;
  const Change change_;
  std::vector<std::byte> in_, out_;
  uint32_t sequence_ = 0;
};

/// A message of net/rpc.h, with its id.
struct Parsed {
  uint8_t kind;
  uint64_t id;
  Bytes rest;

  static Parsed of(Bytes message) {
    Reader in(message);
    const uint8_t kind = in.u8();
    const uint64_t id = in.varint();
    CHECK(in.ok());
    return {kind, id, in.bytes(in.remaining())};
  }
  std::vector<std::byte> with_id(uint64_t other) const {
    std::vector<std::byte> bytes;
    bytes.reserve(32 + rest.size());
    Encoder out(bytes);
    out(kind);
    out(other);
    bytes.insert(bytes.end(), rest.begin(), rest.end());
    return bytes;
  }
  bool is_answer() const { return kind == 2 || kind == 3; }
};

Tampering::Change planted(std::string_view broken, Rng rng) {
  using Messages = std::vector<std::vector<std::byte>>;
  const auto whole = [](Bytes m) { return std::vector<std::byte>(m.begin(), m.end()); };
  if (broken == "reply-lost") {
    return [rng, whole](Bytes bytes) mutable {
      const bool lost = Parsed::of(bytes).is_answer() && rng.chance(0.05);
      return lost ? Messages{} : Messages{whole(bytes)};
    };
  }
  if (broken == "replies-swapped") {
    return [rng, last = uint64_t{0}](Bytes bytes) mutable {
      const Parsed message = Parsed::of(bytes);
      // An answer that takes the place of the one before it, which then takes its own.
      const bool swap = message.is_answer() && last == 0 && rng.chance(0.2);
      if (swap) {
        last = message.id;
        return Messages{};
      }
      if (!message.is_answer() || last == 0) return Messages{message.with_id(message.id)};
      return Messages{message.with_id(std::exchange(last, 0))};
    };
  }
  // "call-repeated": a frame that came twice is taken for two calls.
  return [rng](Bytes bytes) mutable {
    const Parsed message = Parsed::of(bytes);
    if (!message.is_answer()) {
      Messages messages{message.with_id(2 * message.id)};
      if (message.kind == 1 && rng.chance(0.1))
        messages.push_back(message.with_id(2 * message.id + 1));
      return messages;
    }
    return message.id % 2 == 1 ? Messages{} : Messages{message.with_id(message.id / 2)};
  };
}

class TamperingNetwork final : public StreamNetwork {
 public:
  TamperingNetwork(std::unique_ptr<StreamNetwork> inner, std::string broken, Rng rng)
      : inner_(std::move(inner)), broken_(std::move(broken)), rng_(rng) {}

  std::string_view scheme() const override { return inner_->scheme(); }
  Result<std::unique_ptr<Stream>> connect(std::string_view place, Deadline deadline) override {
    return wrap(TRY(inner_->connect(place, deadline)));
  }
  Result<std::unique_ptr<StreamListener>> listen(std::string_view place, Accept accept) override {
    return inner_->listen(place, [this, accept = std::move(accept)](std::unique_ptr<Stream> s) {
      accept(wrap(std::move(s)));
    });
  }

 private:
  std::unique_ptr<Stream> wrap(std::unique_ptr<Stream> stream) {
    return std::make_unique<Tampering>(std::move(stream), planted(broken_, rng_.fork(++made_)));
  }

  const std::unique_ptr<StreamNetwork> inner_;
  const std::string broken_;
  const Rng rng_;
  uint64_t made_ = 0;
};

// --- the run ----------------------------------------------------------------------------------

class Run {
 public:
  explicit Run(const sim::Scenario& scenario)
      : scenario_(scenario),
        world_({.seed = scenario.seed}),
        network_(world_, {.latency_ns_max = 2 * kMillisecond, .bytes_per_second = 100'000'000}),
        rng_(world_.rng().fork(1)) {
    for (int i = 0; i < kServers; ++i) {
      servers_.push_back(&world_.add_process(fmt::format("server-{}", i),
                                             [this](sim::Process& self) { serve(self); }));
    }
    for (int i = 0; i < kClients; ++i) {
      clients_.push_back({});
      clients_.back().process = &world_.add_process(
          fmt::format("client-{}", i), [this, i](sim::Process& self) { live(self, i); });
    }
  }

  sim::Outcome run() {
    for (int64_t step = 0; step < scenario_.steps && failure_.empty(); ++step) {
      world_.run_for(kStepNs);
      if (rng_.chance(0.1)) fault();
      for (uint64_t calls = rng_.below(4); calls > 0; --calls) {
        begin_call(static_cast<int>(rng_.below(kClients)), false);
      }
    }
    heal();
    world_.run_for(60 * kSecond);  // every deadline has passed
    for (int client = 0; client < kClients; ++client) {
      for (int i = 0; i < 10; ++i) begin_call(client, true);
    }
    world_.run_for(2 * kCalmCallNs);
    for (const auto& [token, call] : calls_) check_at_end(token, call);
    return {.failure = failure_,
            .fingerprint = world_.fingerprint(),
            .events = world_.events(),
            .log = world_.log_text()};
  }

 private:
  struct Life {  // of a client process
    std::vector<std::unique_ptr<Client>> clients = {};
    std::unique_ptr<Transport> transport = {};
  };
  struct ClientProcess {
    sim::Process* process = nullptr;
    Life* life = nullptr;  // while it is alive
    int64_t resumed_ns = 0;
  };
  struct CallRecord {
    int executed = 0;
    bool ended = false, killed = false;
    Fate fate = Fate::kUnknown;
  };

  void fail_with(std::string text) {
    if (!failure_.empty()) return;
    world_.log("check", text);
    failure_ = std::move(text);
  }

  std::unique_ptr<Transport> make(sim::Process& self) {
    std::unique_ptr<StreamNetwork> port = network_.port(self);
    if (const std::string& broken = scenario_.broken;
        !broken.empty() && broken != "unknown-as-not-begun") {
      port = std::make_unique<TamperingNetwork>(std::move(port), broken, self.rng().fork(2));
    }
    std::vector<std::unique_ptr<StreamNetwork>> ports;
    ports.push_back(std::move(port));
    TransportOptions options{
        .self = {{self.rng().next(), self.rng().next()}, self.name()},
        .random_key = [&self] { return Hash128{self.rng().next(), self.rng().next()}; }};
    return make_transport(self, std::move(options), std::move(ports));
  }

  void serve(sim::Process& self) {
    const auto transport = make(self);
    Server server(*transport, {.calls_max = kServerCallsMax});
    server.on<WorkRequest>([&](const WorkRequest& request, Call& call) -> Result<WorkResponse> {
      if (server.calls() > kServerCallsMax) fail_with("a server runs more calls than it may");
      ++calls_[request.token].executed;
      if (calls_[request.token].executed > 1) {
        fail_with(fmt::format("call {} is executed again", request.token));
      }
      if (request.sleep_ns > 0) sleep_fiber(static_cast<int64_t>(request.sleep_ns));
      if (request.bulk) TRY(work_on(request, call));
      return WorkResponse{hash_u64(request.token)};
    });
    CHECK(server.listen("sim:" + self.name()));
    sleep_fiber(kNever);
  }

  Result<> work_on(const WorkRequest& request, Call& call) {
    Connection& caller = call.session().connection();
    std::vector<std::byte> bytes(request.bulk->bytes);
    const uint32_t crc = TRY(caller.pull(*request.bulk, 0, bytes, call.deadline()));
    if (bytes != pattern(request.token, bytes.size()) || crc != crc32c::value(bytes)) {
      fail_with(fmt::format("call {} pulled other bytes than were exposed", request.token));
    }
    bytes = pattern(~request.token, bytes.size());
    TRY(caller.push(*request.bulk, 0, bytes, call.deadline()));
    return {};
  }

  void live(sim::Process& self, int number) {
    Life life;
    life.transport = make(self);
    for (const sim::Process* server : servers_) {
      life.clients.push_back(std::make_unique<Client>(*life.transport, "sim:" + server->name()));
    }
    struct Here {
      Life*& here;
      ~Here() { here = nullptr; }
    } const here{clients_[static_cast<size_t>(number)].life};
    here.here = &life;
    sleep_fiber(kNever);
  }

  void begin_call(int client, bool calm) {
    ClientProcess& at = clients_[static_cast<size_t>(client)];
    if (!at.process->alive()) return;
    WorkRequest request{.token = ++tokens_};
    const uint64_t server = rng_.below(kServers);
    const int64_t timeout_ns =
        calm ? kCalmCallNs
             : static_cast<int64_t>(rng_.below(rng_.chance(0.5) ? kSecond : 20 * kSecond));
    if (rng_.chance(0.5))
      request.sleep_ns = rng_.below(calm ? 10 * kMillisecond : 500 * kMillisecond);
    const size_t bulk_bytes = rng_.chance(0.3) ? rng_.below(700'000) : 0;
    at.process->post([this, &at, request, server, timeout_ns, bulk_bytes, calm] {
      if (at.life == nullptr) return;
      calls_[request.token];
      at.process->spawn("call", [this, &at, request, server, timeout_ns, bulk_bytes, calm] {
        call(at, request, server, timeout_ns, bulk_bytes, calm);
      });
    });
  }

  void call(ClientProcess& at, WorkRequest request, uint64_t server, int64_t timeout_ns,
            size_t bulk_bytes, bool calm) {
    CallRecord& record = calls_[request.token];
    struct Killed {
      CallRecord& record;
      ~Killed() { record.killed = !record.ended; }
    } const killed{record};
    std::vector<std::byte> memory = pattern(request.token, bulk_bytes);
    std::optional<Exposure> exposure;
    if (bulk_bytes > 0) {
      exposure.emplace(at.life->transport->expose(memory, Access::kReadWrite));
      request.bulk = exposure->handle();
    }
    const Deadline deadline = Deadline::after(at.process->clock(), timeout_ns);
    Fate fate = Fate::kUnknown;
    // A few times in calm: a busy server may refuse.
    Result<WorkResponse> response;
    do {
      response = at.life->clients[server]->call(request, deadline, &fate);
      if (!response && calm && fate == Fate::kNotBegun) sleep_fiber(10 * kMillisecond);
    } while (!response && calm && fate == Fate::kNotBegun &&
             response.error().code == Code::kUnavailable);
    record.ended = true;
    record.fate = fate;
    if (scenario_.broken == "unknown-as-not-begun" && fate == Fate::kUnknown) {
      record.fate = Fate::kNotBegun;
    }
    const int64_t now_ns = at.process->now_ns();
    const bool late = now_ns > deadline.time_ns() + kLatenessNs;
    if (late && world_.now_ns() > at.resumed_ns + kLatenessNs) {
      fail_with(fmt::format("call {} ends {} ms after its deadline", request.token,
                            (now_ns - deadline.time_ns()) / kMillisecond));
    }
    if (response) check_response(request, *response, fate, memory);
    if (!response && calm) {
      fail_with(fmt::format("call {} fails when all is well: {}", request.token,
                            response.error().message));
    }
  }

  void check_response(const WorkRequest& request, const WorkResponse& response, Fate fate,
                      const std::vector<std::byte>& memory) {
    if (response.answer != hash_u64(request.token)) {
      fail_with(fmt::format("call {} gets the response of another", request.token));
    }
    if (fate != Fate::kAnswered || calls_[request.token].executed == 0) {
      fail_with(fmt::format("call {} is answered but was not executed", request.token));
    }
    if (memory != pattern(~request.token, memory.size())) {
      fail_with(fmt::format("call {} left other bytes than were pushed", request.token));
    }
  }

  void check_at_end(uint64_t token, const CallRecord& call) {
    if (!call.ended && !call.killed) fail_with(fmt::format("call {} does not end", token));
    if (call.ended && call.fate == Fate::kNotBegun && call.executed > 0) {
      fail_with(fmt::format("call {} was not begun but is executed", token));
    }
  }

  // Faults.
  sim::Process& any_process() {
    const uint64_t i = rng_.below(kServers + kClients);
    return i < kServers ? *servers_[i] : *clients_[i - kServers].process;
  }

  void fault() {
    const std::vector<std::string>& faults = scenario_.faults;
    if (faults.empty() || rng_.chance(0.3)) return heal();
    const std::string& kind = faults[rng_.below(faults.size())];
    sim::Process& victim = any_process();
    if (kind == "drop") network_.options.drop_rate = 0.2 * rng_.uniform();
    if (kind == "spoil") network_.options.spoil_rate = 0.01 * rng_.uniform();
    if (kind == "slow") network_.options.bytes_per_second = 200'000;
    if (kind == "reset") network_.reset(victim.name());
    if (kind == "partition") network_.partition({victim.name()});
    if (kind == "cut") network_.cut(victim.name(), any_process().name());
    if (kind == "kill") {
      network_.options.silent_kill_rate = rng_.chance(0.5) ? 1 : 0;
      if (victim.alive()) victim.kill();
    }
    if (kind == "pause" && victim.alive() && !paused(victim)) {
      paused_.push_back(&victim);
      victim.pause();
    }
  }

  bool paused(const sim::Process& process) const {
    return std::ranges::find(paused_, &process) != paused_.end();
  }

  void heal() {
    network_.heal();
    for (sim::Process* process : std::exchange(paused_, {})) {
      if (process->alive()) process->resume();
    }
    for (ClientProcess& client : clients_) {
      client.resumed_ns = world_.now_ns();
      if (!client.process->alive()) client.process->start();
    }
    for (sim::Process* server : servers_) {
      if (!server->alive()) server->start();
    }
  }

  const sim::Scenario& scenario_;
  std::string failure_;
  std::map<uint64_t, CallRecord> calls_;  // by token
  uint64_t tokens_ = 0;
  std::vector<sim::Process*> servers_, paused_;
  std::vector<ClientProcess> clients_ = reserved();
  sim::World world_;
  SimNetwork network_;
  Rng rng_;

  /// What is in it stays where it is.
  static std::vector<ClientProcess> reserved() {
    std::vector<ClientProcess> clients;
    clients.reserve(kClients);
    return clients;
  }
};

}  // namespace

sim::Target rpc_target() {
  return {.name = "rpc",
          .what = "calls and bulk transfers over failing networks: each ends in time, as it says",
          .steps = 200,
          .faults = {"drop", "spoil", "slow", "reset", "partition", "cut", "kill", "pause"},
          .broken = {"reply-lost", "replies-swapped", "call-repeated", "unknown-as-not-begun"},
          .run = [](const sim::Scenario& scenario) { return Run(scenario).run(); }};
}

}  // namespace hadal::net
