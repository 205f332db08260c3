// Bulk transfers over a stream: which ranges are exposed, and which transfers are under way.
//
// A Transfers is one connection's. It knows nothing of sockets: the connection brings it frames and
// asks it where payload goes (sink) and what to send next (next_piece), and it takes its turn among
// transfers piece by piece.
//
// Memory belongs to others, who may take it back at any time by Region::revoke(). Then nothing more
// is written to it, and the piece that is being sent from it, of which the peer has seen the header
// and the checksum, is copied first.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/executor.h"
#include "net/frame.h"
#include "net/transport.h"

namespace hadal::net {

/// Who is in the middle of sending bytes of a region.
class Borrower {
 public:
  virtual ~Borrower() = default;
  /// Must not touch the region any more when this returns.
  virtual void give_back() = 0;
};

struct Region {
  std::span<std::byte> memory;  // never written through unless `access` says so
  Access access = Access::kRead;
  bool revoked = false;
  std::vector<Borrower*> borrowers = {};

  bool allows(Access wanted) const {
    return (static_cast<int>(access) & static_cast<int>(wanted)) != 0;
  }
  void revoke();
};

/// The exposed ranges of a process, by their keys.
class RegionTable {
 public:
  void add(const Hash128& key, const std::shared_ptr<Region>& region) {
    regions_.emplace(key, region);
  }
  void remove(const Hash128& key) { regions_.erase(key); }
  /// Null: there is none, or it does not allow that.
  std::shared_ptr<Region> find(const Hash128& key, Access wanted, uint64_t offset,
                               uint64_t bytes) const;

 private:
  struct HashOfKey {
    size_t operator()(const Hash128& key) const { return key.low; }
  };
  std::unordered_map<Hash128, std::shared_ptr<Region>, HashOfKey> regions_;
};

/// Bytes of an outgoing transfer that make one frame.
struct Piece {
  FrameKind kind = FrameKind::kPulled;
  uint64_t id = 0;
  std::shared_ptr<Region> region = {};
  Bytes bytes = {};
  uint32_t crc = 0;
};

/// Where the payload of a frame of data goes. No region: nowhere, it is to be thrown away.
struct Sink {
  std::shared_ptr<Region> region = {};
  std::byte* to = nullptr;
};

class Transfers {
 public:
  class Host {
   public:
    virtual ~Host() = default;
    /// Queues a frame.
    virtual void send(FrameKind kind, uint64_t id, Bytes payload) = 0;
    /// next_piece() has one.
    virtual void piece_ready() = 0;
  };

  Transfers(const RegionTable& regions, Host& host) : regions_(regions), host_(host) {}

  /// One transfer, from or to `memory`; waits. `kind` is kPull or kPush.
  Result<uint32_t> run(FrameKind kind, const BulkHandle& handle, uint64_t offset,
                       std::span<std::byte> memory, Deadline deadline);

  /// A frame pull, push, finished or stop. kCorrupt: the peer breaks the protocol.
  Result<> received(const FrameHeader& header, Bytes payload);
  /// Before and after the payload of a frame pulled or pushed. kCorrupt as above. A payload that is
  /// not `good`, whose checksum is another, fails its transfer alone: most likely its owner wrote
  /// to it while it was sent.
  Result<Sink> sink(const FrameHeader& header);
  void landed(const FrameHeader& header, bool good);

  bool has_piece() const { return !outgoing_.empty(); }
  /// The next one, of each transfer in turn. False: there is none after all.
  bool next_piece(Piece& piece);

  /// Every transfer ends with this error.
  void lost(const Error& error);

 private:
  struct Mine;       // on the stack of the fiber that waits
  struct Outgoing {  // a push of mine, or a pull of the peer's
    FrameKind kind;
    uint64_t id;
    std::shared_ptr<Region> region;
    Bytes left;
  };
  struct Incoming {  // a push of the peer's
    std::shared_ptr<Region> region;
    std::byte* to;
    uint64_t left;
  };

  Result<> requested(const FrameHeader& header, Bytes payload);
  void finish(uint64_t id, const Error* error);
  Result<> finished(uint64_t id, Bytes payload);
  void drop_outgoing(FrameKind kind, uint64_t id);

  const RegionTable& regions_;
  Host& host_;
  FiberSemaphore slots_{kTransfersMax};
  uint64_t last_id_ = 0, last_peer_id_ = 0;
  std::map<uint64_t, Mine*> mine_;
  std::map<uint64_t, Incoming> incoming_;
  std::deque<Outgoing> outgoing_;
  const Error* lost_ = nullptr;
};

}  // namespace hadal::net
