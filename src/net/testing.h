// For tests of what uses connections.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "net/transport.h"
#include "sim/world.h"

namespace hadal::net {

/// Runs `body` in a fiber of a process of a world of its own, to its end.
inline void run_in_world(const std::function<void(sim::Process&)>& body, uint64_t seed = 1) {
  sim::World world({.seed = seed});
  bool ended = false;
  world.add_process("test", [&](sim::Process& self) {
    body(self);
    ended = true;
  });
  CHECK(world.run_until([&] { return ended; }, 3600 * kSecond), "the test does not end");
}

/// Options for a transport in a process of the simulator.
inline TransportOptions sim_options(sim::Process& process, std::string name) {
  return {.self = {{process.rng().next(), process.rng().next()}, std::move(name)},
          .random_key = [&process] { return Hash128{process.rng().next(), process.rng().next()}; }};
}

/// Keeps what it is told.
struct Recorder final : Handler {
  std::vector<std::string> messages = {};
  std::vector<Error> lost = {};
  FiberEvent ended = {};

  void on_message(Bytes message) override { messages.emplace_back(text_of(message)); }
  void on_lost(const Error& error) override {
    lost.push_back(error);
    ended.set();
  }
};

inline std::vector<std::byte> random_bytes(Rng& rng, size_t bytes) {
  std::vector<std::byte> data(bytes);
  for (std::byte& b : data) b = static_cast<std::byte>(rng.next());
  return data;
}

}  // namespace hadal::net
