// Connections between processes: messages in order, and bulk data straight from memory to memory.
//
// A Transport stands for this process; it listens on addresses and connects to others:
//
//   "tcp:10.0.0.7:9000"  "tcp:[::1]:9000"   sockets                          (net/tcp_network.h)
//   "local:manager"                         within one executor              (net/local_network.h)
//   "sim:storage-1"                         the simulator's network          (net/sim_network.h)
//
// Everything distributed in hadal is written against these classes and net/rpc.h and never learns
// which of them it uses. The three above share one implementation over streams of bytes
// (net/stream.h), whose protocol is docs/formats/wire.md; shared memory and RDMA would be others.
//
// Messages are whole, checked, and in the order in which they were posted, or the connection is
// lost, which its handler is told once. A connection is lost by an error, by a peer that ends, that
// breaks the protocol, or of which nothing is heard for `lost_after_ns`. It never comes back:
// net/rpc.h makes a new one.
//
// Bulk data. A process exposes a range of its memory and puts the handle into a message; whoever
// has the handle pulls bytes from the range into memory of his own, or pushes them from there, with
// no copy in between that the transport could avoid. Both return the CRC-32C of the bytes, which
// was computed at both ends. They are cut into pieces, between which messages go.
//
// Queues. Who sends waits while kQueueBytes are queued (wait_for_room()). What is posted without
// waiting must be bounded by its caller: at kQueueBytesMax the connection is lost.
//
// Threads: one executor. What may wait is said; it is for fibers, which hold on to the connection
// by themselves. Units: bytes, nanoseconds.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/executor.h"
#include "base/hash.h"

namespace hadal::net {

inline constexpr size_t kQueueBytes = size_t{1} << 20;
inline constexpr size_t kQueueBytesMax = size_t{8} << 20;

/// Who a process is. The id is random and new with each start, so that a server that was started
/// again is not taken for its former self; the name is for people.
struct Identity {
  Hash128 process = {};
  std::string name = {};
};

enum class Access : uint8_t { kRead = 1, kWrite = 2, kReadWrite = 3 };

/// Names a range of some process's memory. A field of messages. Who has it may use it.
struct BulkHandle {
  Hash128 key = {};
  uint64_t bytes = 0;

  static void fields(auto& self, auto& visit) {
    visit(self.key);
    visit(self.bytes);
  }
};

struct Region;
class RegionTable;

/// Memory that others may access. When it goes, nobody reads or writes that memory any more: the
/// destructor does not wait, it cuts off transfers that are under way.
class Exposure {
 public:
  Exposure(std::shared_ptr<RegionTable> table, std::shared_ptr<Region> region, BulkHandle handle);
  ~Exposure();
  Exposure(Exposure&&) noexcept;
  Exposure& operator=(Exposure&&) = delete;

  const BulkHandle& handle() const { return handle_; }

 private:
  std::shared_ptr<RegionTable> table_;
  std::shared_ptr<Region> region_;
  BulkHandle handle_;
};

/// What happens on a connection. Called from tasks of the executor: must not wait.
class Handler {
 public:
  virtual ~Handler() = default;
  /// `message` is gone when this returns.
  virtual void on_message(Bytes message) = 0;
  /// The last call. The error names the peer.
  virtual void on_lost(const Error& error) = 0;
};

class Connection {
 public:
  using Ticket = uint64_t;  // of a posted message

  /// A connection that nobody holds is closed.
  virtual ~Connection() = default;

  virtual const Identity& peer() const = 0;
  /// "tcp:10.0.0.7:9000 (storage-7)", for messages to people.
  virtual std::string peer_text() const = 0;
  /// The largest message that the peer takes, at least 64 KiB.
  virtual size_t message_bytes_max() const = 0;

  /// Before it nothing is received. Once. The connection lets go of the handler after on_lost().
  virtual void start(std::shared_ptr<Handler> handler) = 0;
  virtual bool is_open() const = 0;

  /// Waits until less than kQueueBytes are queued. kTimeout, or why the connection was lost.
  virtual Result<> wait_for_room(Deadline deadline) = 0;
  /// Puts a message of at most message_bytes_max() into the queue. If the connection is lost it
  /// goes nowhere.
  virtual Ticket post(Bytes message) = 0;
  /// Takes a message back. True: no byte of it has been sent, nor will be. Also after a loss.
  virtual bool withdraw(Ticket ticket) = 0;

  /// Fills `to` from the range at `offset`, or writes `from` into it; waits. Returns the CRC-32C.
  /// kPermissionDenied: the peer knows no such handle (any more), the range is not within it, or it
  /// was not exposed for that. kTimeout. Else why the connection was lost. After an error a range
  /// that was to be filled may be filled in part.
  virtual Result<uint32_t> pull(const BulkHandle& handle, uint64_t offset, std::span<std::byte> to,
                                Deadline deadline) = 0;
  virtual Result<uint32_t> push(const BulkHandle& handle, uint64_t offset, Bytes from,
                                Deadline deadline) = 0;

  /// Tells the peer why, if that is possible without waiting. What is still queued may be lost.
  /// on_lost() follows.
  virtual void close(std::string_view reason) = 0;
};

/// Stops listening when it goes; connections stay.
class Listener {
 public:
  virtual ~Listener() = default;
  /// Where others reach it: with the port that was chosen, where 0 was asked for.
  virtual std::string address() const = 0;
};

struct TransportOptions {
  Identity self;
  /// Keys must be such that nobody guesses them: system_key() in production.
  std::function<Hash128()> random_key;
  int64_t ping_after_ns = kSecond;      // of silence
  int64_t lost_after_ns = 5 * kSecond;  // of silence, also while shaking hands; checked with pings
  size_t accepted_max = 10'000;         // connections at a time; more are refused
};

class Transport {
 public:
  using Accept = std::function<void(std::shared_ptr<Connection>)>;

  /// Closes every connection.
  virtual ~Transport() = default;

  virtual Executor& executor() = 0;
  virtual const Identity& self() const = 0;
  /// 128 bits that nobody guesses.
  virtual Hash128 random_key() = 0;

  /// `accept` gets connections whose peers have shown who they are; it must start() them.
  virtual Result<std::unique_ptr<Listener>> listen(std::string_view address, Accept accept) = 0;
  /// Waits. kUnavailable, kTimeout, kInvalidArgument for an address that is none. The caller must
  /// start() it.
  virtual Result<std::shared_ptr<Connection>> connect(std::string_view address,
                                                      Deadline deadline) = 0;

  /// The memory must stay where it is as long as the exposure lives.
  virtual Exposure expose(std::span<std::byte> memory, Access access) = 0;
  /// The same for memory that is only read.
  virtual Exposure expose(Bytes memory) = 0;
};

/// 128 bits from the operating system.
Hash128 system_key();

}  // namespace hadal::net
