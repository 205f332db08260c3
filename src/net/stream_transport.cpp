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

class StreamTransport final : public Transport {
 public:
  StreamTransport(Executor& executor, TransportOptions options,
                  std::vector<std::unique_ptr<StreamNetwork>> networks)
      : executor_(executor),
        options_(std::make_shared<const TransportOptions>(std::move(options))),
        networks_(std::move(networks)) {}

  ~StreamTransport() override {
    for (const auto& [number, weak] : connections_) {
      if (const auto connection = weak.lock()) connection->close("the process ends");
    }
  }

  Executor& executor() override { return executor_; }
  const Identity& self() const override { return options_->self; }
  Hash128 random_key() override { return options_->random_key(); }

  Result<std::unique_ptr<Listener>> listen(std::string_view address, Accept accept) override {
    const auto [network, place] = TRY(find(address));
    const std::string scheme(network->scheme());
    auto listener = TRY(network->listen(
        place, [this, scheme, accept = std::move(accept)](std::unique_ptr<Stream> stream) {
          accepted(scheme, std::move(stream), accept);
        }));
    return std::make_unique<StreamListening>(scheme, std::move(listener));
  }

  Result<std::shared_ptr<Connection>> connect(std::string_view address,
                                              Deadline deadline) override {
    const auto [network, place] = TRY(find(address));
    auto stream = TRY(in(address, network->connect(place, deadline)));
    const auto connection = make(std::move(stream), std::string(address));
    connection->open(nullptr);
    TRY(connection->wait_until_open(deadline));
    return connection;
  }

  Exposure expose(std::span<std::byte> memory, Access access) override {
    const BulkHandle handle{options_->random_key(), memory.size()};
    auto region = std::make_shared<Region>(Region{memory, access});
    regions_->add(handle.key, region);
    return {regions_, std::move(region), handle};
  }

  Exposure expose(Bytes memory) override {
    return expose({const_cast<std::byte*>(memory.data()), memory.size()}, Access::kRead);
  }

 private:
  class StreamListening final : public Listener {
   public:
    StreamListening(std::string scheme, std::unique_ptr<StreamListener> listener)
        : scheme_(std::move(scheme)), listener_(std::move(listener)) {}
    std::string address() const override { return scheme_ + ":" + listener_->place(); }

   private:
    const std::string scheme_;
    const std::unique_ptr<StreamListener> listener_;
  };

  struct Place {
    StreamNetwork* network;
    std::string_view place;
  };

  Result<Place> find(std::string_view address) {
    const size_t colon = address.find(':');
    std::string schemes;
    for (const auto& network : networks_) {
      if (address.substr(0, colon) == network->scheme() && colon != address.npos) {
        return Place{network.get(), address.substr(colon + 1)};
      }
      schemes += fmt::format("{}{}:", schemes.empty() ? "" : " or ", network->scheme());
    }
    return fail(Code::kInvalidArgument,
                fmt::format("\"{}\" is no address here; it must begin with {}", address, schemes));
  }

  std::shared_ptr<StreamConnection> make(std::unique_ptr<Stream> stream, std::string address) {
    auto connection = std::make_shared<StreamConnection>(executor_, options_, regions_,
                                                         std::move(stream), std::move(address));
    forget_ended(2 * alive_ + 16);
    connections_.emplace(++made_, connection);
    return connection;
  }

  void accepted(const std::string& scheme, std::unique_ptr<Stream> stream, const Accept& accept) {
    forget_ended(options_->accepted_max);
    if (connections_.size() >= options_->accepted_max) return;  // the peer sees it closed
    const std::string address = scheme + ":" + stream->peer();
    const auto connection = make(std::move(stream), address);
    // Until it is open its own callback holds it; who never shakes hands is lost in time.
    connection->open([connection, accept] { accept(connection); });
  }

  void forget_ended(size_t from_size_on) {
    if (connections_.size() < from_size_on) return;
    std::erase_if(connections_, [](const auto& entry) { return entry.second.expired(); });
    alive_ = connections_.size();
  }

  Executor& executor_;
  const std::shared_ptr<const TransportOptions> options_;
  const std::shared_ptr<RegionTable> regions_ = std::make_shared<RegionTable>();
  const std::vector<std::unique_ptr<StreamNetwork>> networks_;
  std::map<uint64_t, std::weak_ptr<StreamConnection>> connections_;  // in the order of their making
  uint64_t made_ = 0;
  size_t alive_ = 0;
};

}  // namespace

std::unique_ptr<Transport> make_transport(Executor& executor, TransportOptions options,
                                          std::vector<std::unique_ptr<StreamNetwork>> networks) {
  CHECK(options.random_key && options.ping_after_ns > 0 &&
        options.lost_after_ns >= options.ping_after_ns);
  return std::make_unique<StreamTransport>(executor, std::move(options), std::move(networks));
}

Hash128 system_key() {
  Hash128 key;
  CHECK(getrandom(&key, sizeof key, 0) == sizeof key, "no random numbers from the system");
  return key;
}

}  // namespace hadal::net
