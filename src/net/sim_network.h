// The simulator's network: streams between processes of a world, with everything that goes wrong
// between machines, from the world's seed.
//
//   SimNetwork network(world, {.drop_rate = 0.01});
//   world.add_process("server", [&](Process& self) {
//     auto transport = make_transport(self, options, {network.port(self)});
//     auto listener = transport->listen("sim:server", ...);
//   });
//   network.cut("client", "server");           // one way
//   network.heal();
//
// What streams promise, TCP keeps, so what happens to packets is seen here as it is seen there:
//
//   lost packets          bytes that come late, by 200 ms and twice that for each loss in a row
//   reordered, doubled    nothing: TCP puts it right
//   a cut link            silence. Bytes wait and come after heal(), if both ends still want them.
//                         Where only one way is cut, acknowledgements do not come back either, so
//                         the other side's window fills up
//   a killed process      its system resets the connections, or, with silent_kill_rate, the machine
//                         is dead: silence, and a reset once the process is alive again and is sent
//                         something
//   a paused process      connections are accepted and bytes are taken up to the window, and then
//                         silence
//   a reset               both ends fail at once; what was in flight is gone
//   spoiled bytes         spoil_rate: bytes changed, repeated or left out, as no TCP does but a bad
//                         cable and a weak checksum may. The frames above must notice
//
// A stream takes kWindowBytes that the other side has not read and acknowledged. Links have a
// latency, different for each segment but never overtaking, and a bandwidth that all streams of
// one direction between two processes share.
//
// Threads: the world's. A network that ends kills the processes that have a port.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "net/stream.h"
#include "sim/world.h"

namespace hadal::net {

/// May be changed while it is used.
struct SimNetworkOptions {
  int64_t latency_ns_min = 20 * kMicrosecond;
  int64_t latency_ns_max = 200 * kMicrosecond;
  int64_t bytes_per_second = 1'000'000'000;
  double drop_rate = 0;         // of segments
  double reset_rate = 0;        // of connections, at each segment
  double spoil_rate = 0;        // of segments
  double silent_kill_rate = 0;  // of connections of a process that is killed
};

class SimNetwork {
 public:
  static constexpr size_t kWindowBytes = 256 * 1024;

  SimNetwork(sim::World& world, const SimNetworkOptions& given);
  ~SimNetwork();
  SimNetwork(const SimNetwork&) = delete;
  SimNetwork& operator=(const SimNetwork&) = delete;

  SimNetworkOptions options;

  /// For make_transport(), in the process.
  std::unique_ptr<StreamNetwork> port(sim::Process& process);

  /// Nothing passes from one process to the other, by their names, until heal().
  void cut(std::string_view from, std::string_view to);
  /// Both ways between every process of `some` and every one that is not.
  void partition(const std::set<std::string>& some);
  /// Links are whole and options are those of the beginning, with rates of 0.
  void heal();
  /// Every stream of the process, by its name.
  void reset(std::string_view process);

 private:
  class Port;
  class Listening;
  class SimStream;
  struct Dial;
  struct End;
  struct Pipe;

  struct Listen {
    sim::Process& process;
    StreamNetwork::Accept accept;
  };
  using Link = std::pair<std::string, std::string>;

  bool is_cut(const sim::Process& from, const sim::Process& to) const;
  int64_t latency_ns();
  void send(const std::shared_ptr<Pipe>& pipe, std::vector<std::byte> bytes, bool end);
  void arrive(const std::shared_ptr<Pipe>& pipe, std::vector<std::byte> bytes, bool end);
  void deliver(const std::shared_ptr<Pipe>& pipe, std::vector<std::byte> bytes, bool end);
  void spoil(std::vector<std::byte>& bytes);
  void acknowledge(const std::shared_ptr<Pipe>& pipe, size_t bytes);
  void break_stream(End& end);
  void syn(const std::shared_ptr<Dial>& dial);

  sim::World& world_;
  const SimNetworkOptions calm_;
  Rng rng_;
  std::vector<sim::Process*> processes_;  // that have a port
  std::map<std::string, Listen, std::less<>> listening_;
  std::set<Link> cuts_;
  std::map<Link, int64_t> link_free_ns_;    // when what was sent so far has left
  std::vector<std::weak_ptr<Pipe>> pipes_;  // in the order of their making
};

}  // namespace hadal::net
