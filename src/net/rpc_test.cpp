#include "net/rpc.h"

#include <tuple>

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "net/frame.h"
#include "net/local_network.h"
#include "net/sim_network.h"
#include "net/testing.h"

namespace hadal::net {
namespace {

struct AddResponse {
  int64_t sum = 0;
  static void fields(auto& self, auto& visit) { visit(self.sum); }
};

struct AddRequest {
  static constexpr uint16_t kMethod = 1;
  static constexpr std::string_view kName = "add";
  using Response = AddResponse;
  int64_t a = 0, b = 0;
  static void fields(auto& self, auto& visit) {
    visit(self.a);
    visit(self.b);
  }
};

struct Text {
  std::string text = {};
  static void fields(auto& self, auto& visit) { visit(self.text, at_most(2 << 20)); }
};

/// What the server is to do, as a word.
struct DoRequest {
  static constexpr uint16_t kMethod = 2;
  static constexpr std::string_view kName = "do";
  using Response = Text;
  std::string what = {};
  static void fields(auto& self, auto& visit) { visit(self.what, at_most(2 << 20)); }
};

struct Unserved {
  static constexpr uint16_t kMethod = 99;
  static constexpr std::string_view kName = "unserved";
  using Response = Text;
  static void fields(auto& /*self*/, auto& /*visit*/) {}
};

/// A server and a client in a world, on the simulated network.
struct Cluster {
  sim::World world;
  SimNetwork network;
  ServerOptions options;
  sim::Process* server_process = nullptr;
  Server* server = nullptr;
  int executed = 0, cancelled = 0, done = 0;
  std::vector<Reply<Text>>* kept = nullptr;  // in the server's fiber

  explicit Cluster(uint64_t seed = 1, const ServerOptions& o = {})
      : world({.seed = seed}), network(world, {}), options(o) {
    server_process = &world.add_process("server", [this](sim::Process& self) { serve(self); });
  }

  std::unique_ptr<Transport> make(sim::Process& self) {
    std::vector<std::unique_ptr<StreamNetwork>> ports;
    ports.push_back(network.port(self));
    return make_transport(self, sim_options(self, self.name()), std::move(ports));
  }

  void serve(sim::Process& self) {
    const auto transport = make(self);
    std::vector<Reply<Text>> replies;
    kept = &replies;
    Server serving(*transport, options);
    server = &serving;
    serving.on<AddRequest>(
        [this](const AddRequest& request, Call& /*call*/) -> Result<AddResponse> {
          ++executed;
          return AddResponse{request.a + request.b};
        });
    serving.on<DoRequest>([this](const DoRequest& request, Reply<Text> reply) {
      ++executed;
      perform(request.what, std::move(reply));
    });
    ASSERT_TRUE(serving.listen("sim:server"));
    sleep_fiber(kNever);
  }

  void perform(const std::string& what, Reply<Text> reply) {
    if (what == "fail") {
      std::move(reply).send(fail(Code::kConflict, "as it was told"));
    } else if (what == "large") {
      std::move(reply).send(Text{std::string(kMessageBytesMax, 'x')});
    } else if (what == "keep") {
      kept->push_back(std::move(reply));
    } else if (what == "call back") {
      const auto sum = reply.call().session().call(AddRequest{20, 3}, reply.call().deadline());
      std::move(reply).send(sum ? Result<Text>(Text{fmt::format("{}", sum->sum)})
                                : std::unexpected(sum.error()));
    } else if (what == "wait") {
      if (reply.call().wait_cancelled(Deadline::never())) ++cancelled;
      std::move(reply).send(Text{"late"});
    }  // else the reply is dropped
  }

  /// Runs `body` in a client process, to its end.
  void run(const std::function<void(sim::Process&, Client&)>& body,
           std::shared_ptr<Methods> methods = nullptr) {
    bool ended = false;
    world.add_process(fmt::format("client-{}", ++done), [&](sim::Process& self) {
      const auto transport = make(self);
      sleep_fiber(kMillisecond);
      Client client(*transport, "sim:server", {}, methods);
      body(self, client);
      ended = true;
    });
    ASSERT_TRUE(world.run_until([&] { return ended; }, 600 * kSecond)) << world.log_text();
  }
};

Deadline in_seconds(sim::Process& self, int64_t seconds) {
  return Deadline::after(self.clock(), seconds * kSecond);
}

TEST(Rpc, CallsAreAnswered) {
  Cluster cluster;
  cluster.run([](sim::Process& self, Client& client) {
    Fate fate = Fate::kUnknown;
    for (int64_t i = 0; i < 1000; ++i) {
      const auto response = client.call(AddRequest{i, -2 * i}, in_seconds(self, 1), &fate);
      ASSERT_TRUE(response) << response.error().message;
      ASSERT_EQ(response->sum, -i);
      ASSERT_EQ(fate, Fate::kAnswered);
    }
  });
  EXPECT_EQ(cluster.executed, 1000);
}

TEST(Rpc, ErrorsSayWhatAndWhetherItWasBegun) {
  Cluster cluster;
  cluster.run([](sim::Process& self, Client& client) {
    const auto expect = [&](const auto& request, Code code, std::string_view text, Fate fate) {
      Fate is = Fate::kUnknown;
      const auto result = client.call(request, in_seconds(self, 1), &is);
      ASSERT_FALSE(result);
      EXPECT_EQ(result.error().code, code);
      EXPECT_EQ(result.error().message, text);
      EXPECT_EQ(is, fate);
    };
    const std::string_view drop = "sim:server (server): the handler ended without an answer";
    expect(DoRequest{"fail"}, Code::kConflict, "sim:server (server): as it was told",
           Fate::kAnswered);
    expect(DoRequest{"drop"}, Code::kInternal, drop, Fate::kAnswered);
    expect(Unserved{}, Code::kUnsupported, "sim:server (server): method 99 is not served here",
           Fate::kNotBegun);
    expect(DoRequest{"large"}, Code::kInternal,
           "sim:server (server): the response has 1048581 bytes; the peer takes 1048576",
           Fate::kAnswered);
    expect(DoRequest{std::string(kMessageBytesMax, 'x')}, Code::kInvalidArgument,
           "do has 1048586 bytes; the peer takes 1048576", Fate::kNotBegun);
    expect(DoRequest{"call back"}, Code::kUnsupported,
           "sim:server (server): sim:client-1 (client-1): calls are not served here",
           Fate::kAnswered);
  });
}

TEST(Rpc, TheServerCallsBack) {
  Cluster cluster;
  const auto methods = std::make_shared<Methods>(10);
  methods->add<AddRequest>([](const AddRequest& request, Call& /*call*/) -> Result<AddResponse> {
    return AddResponse{request.a * request.b};
  });
  cluster.run(
      [](sim::Process& self, Client& client) {
        const auto response = client.call(DoRequest{"call back"}, in_seconds(self, 1));
        ASSERT_TRUE(response) << response.error().message;
        EXPECT_EQ(response->text, "60");
      },
      methods);
}

TEST(Rpc, WhoGivesUpCancels) {
  Cluster cluster;
  cluster.run([&](sim::Process& self, Client& client) {
    Fate fate = Fate::kNotBegun;
    const auto response = client.call(DoRequest{"wait"}, in_seconds(self, 1), &fate);
    EXPECT_EQ(response.error().code, Code::kTimeout);
    EXPECT_EQ(fate, Fate::kUnknown);
    sleep_fiber(kSecond);
    EXPECT_EQ(cluster.cancelled, 1);
    EXPECT_TRUE(client.call(AddRequest{1, 2}, in_seconds(self, 1)));  // the connection is well
  });
  // So does who goes.
  cluster.run([&](sim::Process& self, Client& client) {
    self.spawn("call", [&] { std::ignore = client.call(DoRequest{"wait"}, Deadline::never()); });
    sleep_fiber(kSecond);
    (*client.session(in_seconds(self, 1)))->connection().close("gone");
    sleep_fiber(kSecond);
    EXPECT_EQ(cluster.cancelled, 2);
  });
}

TEST(Rpc, ALostConnectionSaysWhatMayHaveHappened) {
  Cluster cluster;
  cluster.run([&](sim::Process& self, Client& client) {
    EXPECT_TRUE(client.call(AddRequest{1, 2}, in_seconds(self, 1)));
    Fate fate = Fate::kNotBegun;
    cluster.world.at(cluster.world.now_ns() + kSecond, [&] { cluster.server_process->kill(); });
    const auto response = client.call(DoRequest{"wait"}, in_seconds(self, 60), &fate);
    EXPECT_EQ(response.error().code, Code::kUnavailable);
    EXPECT_EQ(response.error().message,
              "sim:server (server): the peer has closed the connection; do may have been executed");
    EXPECT_EQ(fate, Fate::kUnknown);
    const auto after = client.call(AddRequest{1, 2}, in_seconds(self, 60), &fate);
    EXPECT_EQ(after.error().code, Code::kUnavailable);
    EXPECT_EQ(fate, Fate::kNotBegun);
    cluster.world.at(cluster.world.now_ns() + kSecond, [&] { cluster.server_process->start(); });
    int attempts = 0;
    while (!client.call(AddRequest{1, 2}, in_seconds(self, 60))) ++attempts;
    EXPECT_GT(attempts, 3);
    EXPECT_LT(attempts, 20);  // they wait longer and longer
  });
}

TEST(Rpc, WhatNeverLeftWasNotBegun) {
  Cluster cluster;
  cluster.run([&](sim::Process& self, Client& client) {
    EXPECT_TRUE(client.call(AddRequest{1, 2}, in_seconds(self, 1)));
    cluster.network.partition({"server"});
    // These fill the window and the queue; the server sees none of them.
    int unknown = 0, not_begun = 0;
    for (int i = 0; i < 6; ++i) {
      self.spawn("call", [&, i] {
        Fate fate = Fate::kAnswered;
        const int64_t seconds = i == 5 ? 1 : 60;  // one by its deadline, the others by the loss
        EXPECT_FALSE(
            client.call(DoRequest{std::string(200'000, 'x')}, in_seconds(self, seconds), &fate));
        if (fate == Fate::kUnknown) ++unknown;
        if (fate == Fate::kNotBegun) ++not_begun;
      });
    }
    sleep_fiber(30 * kSecond);
    EXPECT_EQ(unknown, 2);  // 256 KiB left
    EXPECT_EQ(not_begun, 4);
    EXPECT_EQ(cluster.executed, 1);
  });
}

TEST(Rpc, ABusyServerRefuses) {
  Cluster cluster(1, {.calls_max = 3});
  cluster.run([&](sim::Process& self, Client& client) {
    int refused = 0, done = 0;
    for (int i = 0; i < 5; ++i) {
      self.spawn("call", [&] {
        Fate fate = Fate::kUnknown;
        const auto response = client.call(DoRequest{"keep"}, in_seconds(self, 100), &fate);
        if (response) return void(++done);
        EXPECT_EQ(response.error().message,
                  "sim:server (server): busy with 3 calls, as many as it takes");
        EXPECT_EQ(fate, Fate::kNotBegun);
        ++refused;
      });
    }
    sleep_fiber(kSecond);
    EXPECT_EQ(refused, 2);
    for (Reply<Text>& reply : *cluster.kept) std::move(reply).send(Text{"now"});
    cluster.kept->clear();
    sleep_fiber(kSecond);
    EXPECT_EQ(done, 3);
    EXPECT_TRUE(client.call(AddRequest{1, 2}, in_seconds(self, 1)));
  });
}

TEST(Rpc, CreditsBoundWhatIsUnderWay) {
  Cluster cluster;
  cluster.run([&](sim::Process& self, Client& client) {
    size_t ended = 0;
    for (size_t i = 0; i < kCallsMax + 10; ++i) {
      self.spawn("call", [&] {
        std::ignore = client.call(DoRequest{"keep"}, in_seconds(self, 2));
        ++ended;
      });
    }
    sleep_fiber(kSecond);
    EXPECT_EQ(cluster.kept->size(), kCallsMax);
    sleep_fiber(2 * kSecond);
    EXPECT_EQ(ended, kCallsMax + 10);  // by their deadlines
    // Those who gave up still have their credits, until they are answered.
    EXPECT_EQ(client.call(AddRequest{1, 2}, in_seconds(self, 1)).error().code, Code::kTimeout);
    cluster.kept->clear();
    EXPECT_TRUE(client.call(AddRequest{1, 2}, in_seconds(self, 1)));
  });
}

TEST(Rpc, AServerStopsWhenItsCallsHaveEnded) {
  Cluster cluster;
  cluster.run([&](sim::Process& self, Client& client) {
    Result<Text> kept, waiting;
    self.spawn("call", [&] { kept = client.call(DoRequest{"keep"}, Deadline::never()); });
    self.spawn("call", [&] { waiting = client.call(DoRequest{"wait"}, Deadline::never()); });
    sleep_fiber(kSecond);
    bool stopped = false;
    cluster.server_process->spawn("stop", [&] {
      cluster.server->stop(Deadline::after(cluster.server_process->clock(), 5 * kSecond));
      stopped = true;
    });
    cluster.server_process->spawn("answer", [&] {
      sleep_fiber(kSecond);
      for (Reply<Text>& reply : *cluster.kept) std::move(reply).send(Text{"now"});
      cluster.kept->clear();
    });
    sleep_fiber(3 * kSecond);
    EXPECT_FALSE(stopped);
    EXPECT_EQ(kept->text, "now");
    EXPECT_EQ(client.call(AddRequest{1, 2}, in_seconds(self, 1)).error().message,
              "sim:server (server): the server is stopping");
    sleep_fiber(3 * kSecond);
    EXPECT_TRUE(stopped);
    EXPECT_EQ(cluster.cancelled, 1);
    EXPECT_EQ(waiting.error().code, Code::kUnavailable);
  });
}

TEST(Rpc, PeersThatBreakTheRulesAreCutOff) {
  for (const std::vector<uint8_t>& message :
       {std::vector<uint8_t>{}, {9}, {1}, {1, 0, 1, 0}, {2, 1}, {3, 1, 0, 0, 0}, {2, 0x80}}) {
    Cluster cluster;
    cluster.run([&](sim::Process& self, Client& client) {
      EXPECT_TRUE(client.call(AddRequest{1, 2}, in_seconds(self, 1)));
      const auto session = *client.session(in_seconds(self, 1));
      session->connection().post(std::as_bytes(std::span(message)));
      sleep_fiber(kSecond);
      EXPECT_FALSE(session->is_open()) << message.size();
      EXPECT_TRUE(client.call(AddRequest{1, 2}, in_seconds(self, 1)));  // over a new one
    });
  }
}

TEST(Rpc, AllOfItWithinOneExecutor) {
  run_in_world([](sim::Process& process) {
    LocalNetwork network(process);
    const auto make = [&](const std::string& name) {
      std::vector<std::unique_ptr<StreamNetwork>> ports;
      ports.push_back(network.port());
      return make_transport(process, sim_options(process, name), std::move(ports));
    };
    const auto there = make("manager"), here = make("client");
    Server server(*there);
    server.on<AddRequest>([](const AddRequest& request, Call& /*call*/) -> Result<AddResponse> {
      return AddResponse{request.a + request.b};
    });
    ASSERT_TRUE(server.listen("local:manager"));
    EXPECT_EQ(server.addresses(), std::vector<std::string>{"local:manager"});
    Client client(*here, "local:manager");
    EXPECT_EQ(client.call(AddRequest{1, 2}, Deadline::never())->sum, 3);
    server.stop(Deadline::never());
    EXPECT_EQ(client.call(AddRequest{1, 2}, Deadline::never()).error().code, Code::kUnavailable);
  });
}

}  // namespace
}  // namespace hadal::net
