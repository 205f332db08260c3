#include "net/sim_network.h"

#include <algorithm>
#include <utility>

#include <fmt/core.h>

#include "base/check.h"

namespace hadal::net {

constexpr int64_t kRetransmitNs = 200 * kMillisecond;
constexpr int kDropsMax = 6;  // of one segment in a row
constexpr size_t kSegmentBytesMax = 64 * 1024;

/// One side of a stream, as its operating system keeps it.
struct SimNetwork::End {
  sim::Process& process;
  uint64_t life = process.life();
  std::function<void()> ready = {};
  bool open = true;      // the process still has the stream
  bool broken = false;   // reset
  bool blocked = false;  // a write found too little room
  std::shared_ptr<Pipe> in = {}, out = {};

  /// In a task of its process.
  static void post_ready(const std::shared_ptr<End>& end) {
    if (!end->open || end->life != end->process.life()) return;
    end->process.post([weak = std::weak_ptr(end)] {
      const auto end = weak.lock();
      if (end == nullptr || !end->open || !end->ready) return;
      const auto call = end->ready;  // it may be taken away meanwhile
      call();
    });
  }
};

/// One direction of a stream.
struct SimNetwork::Pipe {
  std::weak_ptr<End> from, to;
  sim::Process& sender;
  sim::Process& receiver;
  int64_t last_arrival_ns = 0;
  size_t unacknowledged = 0;
  std::deque<std::byte> arrived = {};
  bool ended = false;  // the end has arrived
  struct Segment {
    std::vector<std::byte> bytes;
    bool end;
  };
  std::deque<Segment> held = {};  // behind a cut
  size_t held_acknowledgement = 0;
};

struct SimNetwork::Dial {
  Dial(sim::Process& process, std::string_view name)
      : from(process), place(name), life(process.life()) {}

  sim::Process& from;
  const std::string place;
  const uint64_t life;
  bool given_up = false;
  FiberEvent answered = {};
  std::shared_ptr<End> end = {};  // null: refused
};

class SimNetwork::SimStream final : public Stream {
 public:
  SimStream(SimNetwork& network, std::shared_ptr<End> end, std::string peer)
      : network_(network), end_(std::move(end)), peer_(std::move(peer)) {}

  ~SimStream() override {
    end_->open = false;
    end_->ready = nullptr;
    // A process that is killed tells nobody; its system may.
    if (!alive() && network_.rng_.chance(network_.options.silent_kill_rate)) return;
    network_.send(end_->out, {}, true);
  }

  bool alive() const { return end_->process.alive() && end_->life == end_->process.life(); }

  void start(std::function<void()> ready) override {
    end_->ready = std::move(ready);
    End::post_ready(end_);
  }

  Result<size_t> write(std::span<const Bytes> pieces) override {
    if (end_->broken || !alive()) return broken();
    size_t total = 0;
    end_->blocked = false;
    for (Bytes piece : pieces) {
      while (!piece.empty()) {
        const size_t room = kWindowBytes - end_->out->unacknowledged;
        end_->blocked = room < piece.size();
        if (room == 0) return total;
        const size_t cut = 1 + network_.rng_.below(kSegmentBytesMax);
        const size_t n = std::min({piece.size(), room, cut});
        end_->out->unacknowledged += n;
        network_.send(end_->out, {piece.begin(), piece.begin() + static_cast<ptrdiff_t>(n)}, false);
        piece = piece.subspan(n);
        total += n;
      }
    }
    return total;
  }

  Result<size_t> read(std::span<std::byte> first, std::span<std::byte> second) override {
    if (end_->broken) return broken();
    std::deque<std::byte>& arrived = end_->in->arrived;
    size_t total = 0;
    for (const std::span<std::byte> to : {first, second}) {
      const auto n = static_cast<ptrdiff_t>(std::min(to.size(), arrived.size()));
      std::copy(arrived.begin(), arrived.begin() + n, to.begin());
      arrived.erase(arrived.begin(), arrived.begin() + n);
      total += static_cast<size_t>(n);
    }
    if (total == 0 && end_->in->ended) {
      return fail(Code::kUnavailable, "the peer has closed the connection");
    }
    if (total > 0) network_.acknowledge(end_->in, total);
    return total;
  }

  std::string peer() const override { return peer_; }

 private:
  static std::unexpected<Error> broken() {
    return fail(Code::kUnavailable, "the connection was reset");
  }

  SimNetwork& network_;
  const std::shared_ptr<End> end_;
  const std::string peer_;
};

class SimNetwork::Listening final : public StreamListener {
 public:
  Listening(SimNetwork& network, std::string name) : network_(network), name_(std::move(name)) {}
  ~Listening() override { network_.listening_.erase(name_); }
  std::string place() const override { return name_; }

 private:
  SimNetwork& network_;
  const std::string name_;
};

class SimNetwork::Port final : public StreamNetwork {
 public:
  Port(SimNetwork& network, sim::Process& process) : network_(network), process_(process) {}

  std::string_view scheme() const override { return "sim"; }

  Result<std::unique_ptr<Stream>> connect(std::string_view place, Deadline deadline) override {
    const auto dial = std::make_shared<Dial>(process_, place);
    struct GiveUp {
      Dial& dial;
      ~GiveUp() { dial.given_up = true; }
    } const give_up{*dial};
    network_.world_.at(network_.world_.now_ns() + network_.latency_ns(),
                       [&network = network_, dial] { network.syn(dial); });
    if (!dial->answered.wait(deadline)) {
      return fail(Code::kTimeout, "the deadline passed while connecting");
    }
    if (dial->end == nullptr) return fail(Code::kUnavailable, "nobody listens there");
    return std::make_unique<SimStream>(network_, dial->end, std::string(place));
  }

  Result<std::unique_ptr<StreamListener>> listen(std::string_view place, Accept accept) override {
    const std::string name(place);
    if (!network_.listening_.emplace(name, Listen{process_, std::move(accept)}).second) {
      return fail(Code::kAlreadyExists, fmt::format("sim:{} is taken", name));
    }
    return std::make_unique<Listening>(network_, name);
  }

 private:
  SimNetwork& network_;
  sim::Process& process_;
};

SimNetwork::SimNetwork(sim::World& world, const SimNetworkOptions& given)
    : options(given), world_(world), calm_(given), rng_(world.rng().fork(0x6e6574)) {}

SimNetwork::~SimNetwork() {
  for (sim::Process* process : processes_) {
    if (process->alive()) process->kill();
  }
}

std::unique_ptr<StreamNetwork> SimNetwork::port(sim::Process& process) {
  if (std::ranges::find(processes_, &process) == processes_.end()) processes_.push_back(&process);
  return std::make_unique<Port>(*this, process);
}

bool SimNetwork::is_cut(const sim::Process& from, const sim::Process& to) const {
  return cuts_.contains({from.name(), to.name()});
}

int64_t SimNetwork::latency_ns() {
  const int64_t spread = options.latency_ns_max - options.latency_ns_min;
  return options.latency_ns_min + static_cast<int64_t>(rng_.below(spread + 1));
}

// --- connecting ------------------------------------------------------------------------------

void SimNetwork::syn(const std::shared_ptr<Dial>& dial) {
  if (dial->given_up || !dial->from.alive() || dial->life != dial->from.life()) return;
  const auto it = listening_.find(dial->place);
  // Who is dead does not answer. (The name stands for the machine: while nobody listens there the
  // machine refuses.)
  if (it != listening_.end() &&
      (!it->second.process.alive() || is_cut(dial->from, it->second.process) ||
       is_cut(it->second.process, dial->from))) {
    world_.at(world_.now_ns() + kRetransmitNs, [this, dial] { syn(dial); });
    return;
  }
  if (it != listening_.end()) {
    sim::Process& to = it->second.process;
    auto there = std::make_shared<Pipe>(Pipe{{}, {}, dial->from, to});
    auto back = std::make_shared<Pipe>(Pipe{{}, {}, to, dial->from});
    dial->end = std::make_shared<End>(End{.process = dial->from, .in = back, .out = there});
    auto end = std::make_shared<End>(End{.process = to, .in = there, .out = back});
    there->from = back->to = dial->end;
    there->to = back->from = end;
    std::erase_if(pipes_, [](const auto& pipe) { return pipe.expired(); });
    pipes_.insert(pipes_.end(), {there, back});
    auto stream = std::make_unique<SimStream>(*this, std::move(end), dial->from.name());
    to.post([accept = it->second.accept, stream = std::move(stream)]() mutable {
      accept(std::move(stream));
    });
  }
  world_.at(world_.now_ns() + latency_ns(), [dial] {
    if (dial->given_up || !dial->from.alive() || dial->life != dial->from.life()) return;
    dial->answered.set();
  });
}

// --- bytes on their way ----------------------------------------------------------------------

void SimNetwork::send(const std::shared_ptr<Pipe>& pipe, std::vector<std::byte> bytes, bool end) {
  if (rng_.chance(options.reset_rate)) {
    if (const auto from = pipe->from.lock()) break_stream(*from);
    if (const auto to = pipe->to.lock()) break_stream(*to);
    return;
  }
  int64_t& free_ns = link_free_ns_[{pipe->sender.name(), pipe->receiver.name()}];
  free_ns = std::max(free_ns, world_.now_ns()) +
            static_cast<int64_t>(bytes.size()) * kSecond / options.bytes_per_second;
  int64_t arrival_ns = free_ns + latency_ns();
  for (int drop = 0; drop < kDropsMax && rng_.chance(options.drop_rate); ++drop) {
    arrival_ns += kRetransmitNs << drop;
  }
  if (!bytes.empty() && rng_.chance(options.spoil_rate)) spoil(bytes);
  pipe->last_arrival_ns = std::max(pipe->last_arrival_ns + 1, arrival_ns);
  world_.at(pipe->last_arrival_ns, [this, pipe, bytes = std::move(bytes), end]() mutable {
    arrive(pipe, std::move(bytes), end);
  });
}

void SimNetwork::spoil(std::vector<std::byte>& bytes) {
  switch (rng_.below(3)) {
    case 0: bytes[rng_.below(bytes.size())] ^= static_cast<std::byte>(1 + rng_.below(255)); break;
    case 1: bytes.insert(bytes.end(), bytes.begin(), bytes.end()); break;
    default: bytes.clear();
  }
}

void SimNetwork::arrive(const std::shared_ptr<Pipe>& pipe, std::vector<std::byte> bytes, bool end) {
  if (is_cut(pipe->sender, pipe->receiver) || !pipe->held.empty()) {
    pipe->held.push_back({std::move(bytes), end});
  } else {
    deliver(pipe, std::move(bytes), end);
  }
}

void SimNetwork::deliver(const std::shared_ptr<Pipe>& pipe, std::vector<std::byte> bytes,
                         bool end) {
  const auto to = pipe->to.lock();
  if (to == nullptr || !to->open) {
    // Nobody has the stream any more. A system that is up says so; a dead one says nothing.
    const auto from = pipe->from.lock();
    if (end || from == nullptr || !pipe->receiver.alive()) return;
    if (!is_cut(pipe->receiver, pipe->sender)) {
      world_.at(world_.now_ns() + latency_ns(), [this, from] { break_stream(*from); });
    }
    return;
  }
  pipe->arrived.insert(pipe->arrived.end(), bytes.begin(), bytes.end());
  pipe->ended |= end;
  End::post_ready(to);
}

/// The sender learns that it may send more.
void SimNetwork::acknowledge(const std::shared_ptr<Pipe>& pipe, size_t bytes) {
  world_.at(world_.now_ns() + latency_ns(), [this, pipe, bytes] {
    if (is_cut(pipe->receiver, pipe->sender)) {
      pipe->held_acknowledgement += bytes;
      return;
    }
    // Spoiled segments may have had other sizes.
    pipe->unacknowledged -= std::min(bytes, pipe->unacknowledged);
    const auto from = pipe->from.lock();
    if (from != nullptr && std::exchange(from->blocked, false)) End::post_ready(from);
  });
}

void SimNetwork::break_stream(End& end) {
  if (std::exchange(end.broken, true) || !end.open) return;
  if (const auto self = end.in->to.lock()) End::post_ready(self);
}

// --- faults ----------------------------------------------------------------------------------

void SimNetwork::cut(std::string_view from, std::string_view to) {
  world_.log("network", fmt::format("{} -> {} is cut", from, to));
  cuts_.emplace(from, to);
}

void SimNetwork::partition(const std::set<std::string>& some) {
  std::set<std::string> others;
  for (const auto& weak : pipes_) {
    if (const auto pipe = weak.lock(); pipe != nullptr && !some.contains(pipe->sender.name())) {
      others.insert(pipe->sender.name());
    }
  }
  for (const auto& [name, listen] : listening_) {
    if (!some.contains(listen.process.name())) others.insert(listen.process.name());
  }
  for (const std::string& one : some) {
    for (const std::string& other : others) {
      cut(one, other);
      cut(other, one);
    }
  }
}

void SimNetwork::heal() {
  world_.log("network", "heals");
  options = calm_;
  options.drop_rate = options.reset_rate = options.spoil_rate = options.silent_kill_rate = 0;
  cuts_.clear();
  for (const auto& weak : pipes_) {
    const auto pipe = weak.lock();
    if (pipe == nullptr) continue;
    if (pipe->held_acknowledgement > 0) {
      acknowledge(pipe, std::exchange(pipe->held_acknowledgement, 0));
    }
    if (pipe->held.empty()) continue;
    // The next retransmission finds the way.
    const auto wait_ns = static_cast<int64_t>(rng_.below(kRetransmitNs));
    world_.at(world_.now_ns() + wait_ns, [this, pipe] {
      if (is_cut(pipe->sender, pipe->receiver)) return;  // again
      for (Pipe::Segment& segment : std::exchange(pipe->held, {})) {
        deliver(pipe, std::move(segment.bytes), segment.end);
      }
    });
  }
}

void SimNetwork::reset(std::string_view process) {
  world_.log("network", fmt::format("resets the streams of {}", process));
  for (const auto& weak : pipes_) {
    const auto pipe = weak.lock();
    if (pipe == nullptr || (pipe->sender.name() != process && pipe->receiver.name() != process)) {
      continue;
    }
    if (const auto from = pipe->from.lock()) break_stream(*from);
  }
}

}  // namespace hadal::net
