// What a transport over streams needs of a network: ordered bytes that do not wait.
//
// A Stream behaves as a non-blocking socket does. It is the seam at which TCP, memory and the
// simulator differ; everything above, from frames to bulk transfers, is the same code.
//
// Threads: one executor.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"
#include "net/transport.h"

namespace hadal::net {

class Stream {
 public:
  /// Closes it. Never within `ready`.
  virtual ~Stream() = default;

  /// `ready` is called, as a task of the executor, after bytes came, after room came where a write
  /// found too little, and after the stream broke; also without need.
  virtual void start(std::function<void()> ready) = 0;

  /// Takes bytes from the front of the pieces; fewer than there are: there is no room for more now.
  virtual Result<size_t> write(std::span<const Bytes> pieces) = 0;

  /// Fills `first`, then `second`; fewer than asked for: that was all for now. kUnavailable: the
  /// stream has ended or is broken.
  virtual Result<size_t> read(std::span<std::byte> first, std::span<std::byte> second) = 0;

  /// Whom it leads to, without the scheme.
  virtual std::string peer() const = 0;
};

class StreamListener {
 public:
  virtual ~StreamListener() = default;
  /// Where it listens, without the scheme.
  virtual std::string place() const = 0;
};

class StreamNetwork {
 public:
  using Accept = std::function<void(std::unique_ptr<Stream>)>;

  virtual ~StreamNetwork() = default;

  /// What its addresses begin with: "tcp".
  virtual std::string_view scheme() const = 0;
  /// Waits.
  virtual Result<std::unique_ptr<Stream>> connect(std::string_view place, Deadline deadline) = 0;
  virtual Result<std::unique_ptr<StreamListener>> listen(std::string_view place, Accept accept) = 0;
};

/// A transport over these networks, of which the scheme of an address chooses one.
std::unique_ptr<Transport> make_transport(Executor& executor, TransportOptions options,
                                          std::vector<std::unique_ptr<StreamNetwork>> networks);

}  // namespace hadal::net
