// The example of docs/net.md, which quotes it.
#include <fstream>
#include <optional>
#include <sstream>

#include <gtest/gtest.h>

#include "net/rpc.h"
#include "net/tcp_network.h"

namespace hadal::net {
namespace {

// >>> docs/net.md
struct SumResponse {
  uint64_t sum = 0;
  static void fields(auto& self, auto& visit) { visit(self.sum); }
};

struct SumRequest {
  static constexpr uint16_t kMethod = 1;
  static constexpr std::string_view kName = "sum";
  using Response = SumResponse;
  BulkHandle data = {};
  std::string note = {};

  static void fields(auto& self, auto& visit) {
    visit(self.data);
    visit(self.note, at_most(100));
  }
};

Result<SumResponse> sum(const SumRequest& request, Call& call) {
  if (request.data.bytes > 1 << 20) return fail(Code::kInvalidArgument, "data: 1 MiB at most");
  std::vector<std::byte> data(request.data.bytes);
  TRY(call.session().connection().pull(request.data, 0, data, call.deadline()));
  SumResponse response;
  for (const std::byte b : data) response.sum += static_cast<uint64_t>(b);
  return response;
}

std::unique_ptr<Transport> tcp_transport(io::EventLoop& loop, const std::string& name) {
  std::vector<std::unique_ptr<StreamNetwork>> networks;
  networks.push_back(tcp_network(loop));
  return make_transport(loop, {.self = {system_key(), name}, .random_key = system_key},
                        std::move(networks));
}

Result<uint64_t> sum_over_tcp(io::EventLoop& loop, const std::vector<std::byte>& data) {
  const auto there = tcp_transport(loop, "server"), here = tcp_transport(loop, "client");
  Server server(*there);
  server.on<SumRequest>(sum);
  TRY(server.listen("tcp:127.0.0.1:0"));

  Client client(*here, server.addresses()[0]);
  const Exposure exposure = here->expose(data);  // as long as it lives, the server may read
  const Deadline deadline = Deadline::after(loop.clock(), 5 * kSecond);
  const SumResponse response = TRY(client.call(SumRequest{exposure.handle(), "all"}, deadline));
  server.stop(deadline);
  return response.sum;
}
// <<<

std::string text_of_file(const std::string& path) {
  std::ifstream file(std::string(HADAL_SOURCE_DIR) + "/" + path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(Example, IsWhatThePageSays) {
  io::EventLoop loop;
  std::optional<Result<uint64_t>> result;
  loop.run([&] { result = sum_over_tcp(loop, std::vector<std::byte>(100'000, std::byte{3})); });
  ASSERT_TRUE(*result) << result->error().message;
  EXPECT_EQ(**result, 300'000U);

  const std::string source = text_of_file("src/net/example_test.cpp");
  const std::string begin = "// >>> docs/net.md\n";
  const size_t from = source.find(begin) + begin.size();
  const std::string example = source.substr(from, source.find("// <<<\n") - from);
  EXPECT_NE(text_of_file("docs/net.md").find(example), std::string::npos)
      << "docs/net.md must quote this:\n"
      << example;
}

}  // namespace
}  // namespace hadal::net
