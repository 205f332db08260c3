// Connections within one executor: the roles of a program that runs them all.
//
// The same protocol over two buffers in memory, so that nothing behaves otherwise than between
// machines. Addresses are names: "local:manager". A LocalNetwork is the set of names; each
// transport gets a port to it.
//
// Threads: one executor.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "net/stream.h"

namespace hadal::net {

class LocalNetwork {
 public:
  explicit LocalNetwork(Executor& executor);
  ~LocalNetwork();

  /// For make_transport().
  std::unique_ptr<StreamNetwork> port();

 private:
  class Port;
  class Listening;
  struct Names;
  std::shared_ptr<Names> names_;
};

}  // namespace hadal::net
