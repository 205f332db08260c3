#include "net/sim_network.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "net/testing.h"

namespace hadal::net {
namespace {

/// A server that answers each message with the same, and a client that says what it is told to.
struct Cluster {
  sim::World world;
  SimNetwork network;
  std::shared_ptr<Recorder> at_server = std::make_shared<Recorder>();
  std::shared_ptr<Recorder> at_client = std::make_shared<Recorder>();
  std::shared_ptr<Connection> connection;  // the client's
  sim::Process* server = nullptr;
  sim::Process* client = nullptr;

  struct Echo final : Handler {
    std::shared_ptr<Recorder> recorder;
    std::weak_ptr<Connection> connection = {};
    explicit Echo(std::shared_ptr<Recorder> r) : recorder(std::move(r)) {}
    void on_message(Bytes message) override {
      recorder->on_message(message);
      if (const auto c = connection.lock()) c->post(message);
    }
    void on_lost(const Error& error) override { recorder->on_lost(error); }
  };

  explicit Cluster(uint64_t seed, const SimNetworkOptions& options = {})
      : world({.seed = seed}), network(world, options) {
    server = &world.add_process("server", [this](sim::Process& self) { serve(self); });
    client = &world.add_process("client", [this](sim::Process& self) {
      const auto transport = make(self, "client");
      sleep_fiber(kMillisecond);
      connection = *transport->connect("sim:server", Deadline::never());
      connection->start(at_client);
      sleep_fiber(kNever);
    });
    CHECK(world.run_until([this] { return connection != nullptr; }, 10 * kSecond));
  }
  // What the processes have must go with them.
  ~Cluster() { connection.reset(); }

  std::unique_ptr<Transport> make(sim::Process& self, const std::string& name) {
    std::vector<std::unique_ptr<StreamNetwork>> ports;
    ports.push_back(network.port(self));
    return make_transport(self, sim_options(self, name), std::move(ports));
  }

  void serve(sim::Process& self) {
    const auto transport = make(self, "server");
    std::vector<std::shared_ptr<Connection>> connections;
    const auto listener = transport->listen("sim:server", [&](std::shared_ptr<Connection> c) {
      auto echo = std::make_shared<Echo>(at_server);
      echo->connection = c;
      c->start(echo);
      connections.push_back(std::move(c));
    });
    sleep_fiber(kNever);
  }

  void say(const std::string& text) {
    client->post([this, text] { connection->post(bytes_of(text)); });
  }
};

TEST(SimNetwork, BytesComeInOrderWhateverHappensToPackets) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    Cluster cluster(seed, {.drop_rate = 0.05});
    std::vector<std::string> sent;
    for (int i = 0; i < 50; ++i) {
      sent.push_back(fmt::format("{} ", i) + std::string(cluster.world.rng().below(20'000), 'x'));
      cluster.say(sent.back());
      cluster.world.run_for(30 * kMillisecond);
    }
    cluster.world.run_for(4 * kSecond);
    ASSERT_EQ(cluster.at_client->messages, sent) << cluster.world.log_text();
  }
}

TEST(SimNetwork, TheSameSeedGivesTheSameRun) {
  const auto run = [](uint64_t seed) {
    Cluster cluster(seed, {.drop_rate = 0.1});
    cluster.network.options.spoil_rate = 0.01;
    for (int i = 0; i < 50; ++i) {
      cluster.say(std::string(1000, 'x'));
      cluster.world.run_for(10 * kMillisecond);
    }
    return cluster.world.fingerprint();
  };
  EXPECT_EQ(run(1), run(1));
  EXPECT_NE(run(1), run(2));
}

TEST(SimNetwork, ACutIsSilenceAndHealsInTime) {
  Cluster cluster(1);
  cluster.network.cut("client", "server");
  cluster.say("one");
  cluster.world.run_for(3 * kSecond);
  EXPECT_TRUE(cluster.at_server->messages.empty());
  cluster.network.heal();
  cluster.world.run_for(kSecond);
  EXPECT_EQ(cluster.at_client->messages, std::vector<std::string>{"one"});
  EXPECT_TRUE(cluster.at_client->lost.empty());
}

TEST(SimNetwork, SilenceEndsAConnectionOnBothSides) {
  for (const bool one_way : {false, true}) {
    Cluster cluster(1);
    cluster.world.run_for(kSecond);  // the server has heard of the client
    cluster.network.cut("client", "server");
    if (!one_way) cluster.network.partition({"server"});
    cluster.say("one");
    cluster.world.run_for(10 * kSecond);
    ASSERT_EQ(cluster.at_server->lost.size(), 1U);
    EXPECT_NE(cluster.at_server->lost[0].message.find("no word from the peer"), std::string::npos)
        << cluster.at_server->lost[0].message;
    // Where the way back is open, the server's goodbye comes through.
    ASSERT_EQ(cluster.at_client->lost.size(), 1U);
    EXPECT_EQ(cluster.at_client->lost[0].code, Code::kUnavailable);
  }
}

TEST(SimNetwork, AKilledServerIsNoticed) {
  for (const double silent : {0.0, 1.0}) {
    Cluster cluster(1, {.silent_kill_rate = silent});
    cluster.server->kill();
    cluster.world.run_for(kSecond);
    EXPECT_EQ(cluster.at_client->lost.size(), silent == 0 ? 1U : 0U);
    cluster.world.run_for(9 * kSecond);
    EXPECT_EQ(cluster.at_client->lost.size(), 1U);
  }
}

TEST(SimNetwork, AServerThatIsBackResetsWhatItDoesNotKnow) {
  Cluster cluster(1, {.silent_kill_rate = 1});
  cluster.server->kill();
  cluster.server->start();
  cluster.say("one");
  cluster.world.run_for(kSecond);
  ASSERT_EQ(cluster.at_client->lost.size(), 1U);
  EXPECT_NE(cluster.at_client->lost[0].message.find("reset"), std::string::npos);
}

TEST(SimNetwork, APausedServerIsSilentAndMayComeBack) {
  Cluster cluster(1);
  cluster.server->pause();
  cluster.say("one");
  cluster.world.run_for(3 * kSecond);
  EXPECT_TRUE(cluster.at_client->messages.empty());
  cluster.server->resume();
  cluster.world.run_for(kSecond);
  EXPECT_EQ(cluster.at_client->messages.size(), 1U);
  cluster.server->pause();
  cluster.world.run_for(10 * kSecond);
  EXPECT_EQ(cluster.at_client->lost.size(), 1U);
  cluster.server->resume();
  cluster.world.run_for(kSecond);
  EXPECT_EQ(cluster.at_server->lost.size(), 1U);
}

TEST(SimNetwork, SpoiledBytesEndTheConnectionAndNothingElse) {
  int spoiled = 0;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    Cluster cluster(seed);
    cluster.network.options.spoil_rate = 0.02;
    std::vector<std::string> sent;
    for (int i = 0; i < 50; ++i) {
      sent.push_back(fmt::format("{} ", i) + std::string(cluster.world.rng().below(3'000), 'x'));
      cluster.say(sent.back());
      cluster.world.run_for(10 * kMillisecond);
    }
    cluster.world.run_for(10 * kSecond);
    const auto& got = cluster.at_client->messages;
    ASSERT_LE(got.size(), sent.size());
    EXPECT_TRUE(std::equal(got.begin(), got.end(), sent.begin()));
    const bool lost = !cluster.at_client->lost.empty();
    EXPECT_TRUE(lost || got.size() == sent.size()) << cluster.world.log_text();
    spoiled += lost ? 1 : 0;
  }
  EXPECT_GT(spoiled, 10);
}

}  // namespace
}  // namespace hadal::net
