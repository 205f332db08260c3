#include <map>
#include <utility>

#include <fmt/core.h>
#include <sys/random.h>

#include "base/check.h"
#include "net/bulk.h"
#include "net/stream.h"
#include "net/stream_connection.h"

namespace hadal::net {
namespace {

struct Place {
  StreamNetwork* network;
  std::string_view place;
};

/// What a transport has, and who is in the middle of connecting when it ends.
struct State {
  Executor& executor;
  const std::shared_ptr<const TransportOptions> options;
  const std::vector<std::unique_ptr<StreamNetwork>> networks;
  const std::shared_ptr<RegionTable> regions = std::make_shared<RegionTable>();
  std::map<uint64_t, std::weak_ptr<StreamConnection>> connections = {};  // as they were made
  uint64_t made = 0;
  size_t alive = 0;
  bool ended = false;

  Result<Place> find(std::string_view address) const {
    const size_t colon = address.find(':');
    std::string schemes;
    for (const auto& network : networks) {
      if (colon != address.npos && address.substr(0, colon) == network->scheme()) {
        return Place{network.get(), address.substr(colon + 1)};
      }
      schemes += fmt::format("{}{}:", schemes.empty() ? "" : " or ", network->scheme());
    }
    return fail(Code::kInvalidArgument,
                fmt::format("\"{}\" is no address here; it must begin with {}", address, schemes));
  }

  std::shared_ptr<StreamConnection> make(std::unique_ptr<Stream> stream, std::string address) {
    auto connection = std::make_shared<StreamConnection>(executor, options, regions,
                                                         std::move(stream), std::move(address));
    forget_ended(2 * alive + 16);
    connections.emplace(++made, connection);
    return connection;
  }

  void forget_ended(size_t from_size_on) {
    if (connections.size() < from_size_on) return;
    std::erase_if(connections, [](const auto& entry) { return entry.second.expired(); });
    alive = connections.size();
  }

  void accepted(std::string_view scheme, std::unique_ptr<Stream> stream,
                const Transport::Accept& accept) {
    forget_ended(options->accepted_max);
    if (ended || connections.size() >= options->accepted_max) return;  // the peer sees it closed
    std::string address = fmt::format("{}:{}", scheme, stream->peer());
    const auto connection = make(std::move(stream), std::move(address));
    // Until it is open its own callback holds it; who never shakes hands is lost in time.
    connection->open([connection, accept] { accept(connection); });
  }
};

class StreamListening final : public Listener {
 public:
  StreamListening(std::string_view scheme, std::unique_ptr<StreamListener> listener)
      : scheme_(scheme), listener_(std::move(listener)) {}
  std::string address() const override { return scheme_ + ":" + listener_->place(); }

 private:
  const std::string scheme_;
  const std::unique_ptr<StreamListener> listener_;
};

class StreamTransport final : public Transport {
 public:
  explicit StreamTransport(std::shared_ptr<State> state) : state_(std::move(state)) {}

  ~StreamTransport() override {
    state_->ended = true;
    for (const auto& [number, weak] : state_->connections) {
      if (const auto connection = weak.lock()) connection->close("the process ends");
    }
  }

  Executor& executor() override { return state_->executor; }
  const Identity& self() const override { return state_->options->self; }
  Hash128 random_key() override { return state_->options->random_key(); }

  Result<std::unique_ptr<Listener>> listen(std::string_view address, Accept accept) override {
    const auto [network, place] = TRY(state_->find(address));
    const std::string_view scheme = network->scheme();
    auto listener =
        TRY(hadal::in(address, network->listen(place, [weak = std::weak_ptr(state_), scheme,
                                                       accept = std::move(accept)](auto stream) {
          if (const auto state = weak.lock()) state->accepted(scheme, std::move(stream), accept);
        })));
    return std::make_unique<StreamListening>(scheme, std::move(listener));
  }

  Result<std::shared_ptr<Connection>> connect(std::string_view address,
                                              Deadline deadline) override {
    const auto state = state_;  // this may end while the fiber waits
    const std::string to(address);
    const auto [network, place] = TRY(state->find(to));
    auto stream = TRY(hadal::in(to, network->connect(place, deadline)));
    if (state->ended) return fail(Code::kCancelled, to + ": the process ends");
    auto connection = state->make(std::move(stream), to);
    connection->open(nullptr);
    TRY(connection->wait_until_open(deadline));
    return connection;
  }

  Exposure expose(std::span<std::byte> memory, Access access) override {
    const BulkHandle handle{random_key(), memory.size()};
    auto region = std::make_shared<Region>(Region{memory, access});
    state_->regions->add(handle.key, region);
    return {state_->regions, std::move(region), handle};
  }

  Exposure expose(Bytes memory) override {
    return expose({const_cast<std::byte*>(memory.data()), memory.size()}, Access::kRead);
  }

 private:
  const std::shared_ptr<State> state_;
};

}  // namespace

std::unique_ptr<Transport> make_transport(Executor& executor, TransportOptions options,
                                          std::vector<std::unique_ptr<StreamNetwork>> networks) {
  CHECK(options.random_key && options.ping_after_ns > 0 &&
        options.lost_after_ns >= options.ping_after_ns);
  auto shared = std::make_shared<const TransportOptions>(std::move(options));
  return std::make_unique<StreamTransport>(
      std::shared_ptr<State>(new State{executor, std::move(shared), std::move(networks)}));
}

Hash128 system_key() {
  Hash128 key;
  CHECK(getrandom(&key, sizeof key, 0) == sizeof key, "no random numbers from the system");
  return key;
}

}  // namespace hadal::net
