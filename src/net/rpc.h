// Calls: a typed request to another process, and its response or error.
//
//   struct ReadRequest {
//     static constexpr uint16_t kMethod = 17;
//     static constexpr std::string_view kName = "read";
//     using Response = ReadResponse;
//     uint64_t inode = 0;
//     static void fields(auto& self, auto& visit) { visit(self.inode); }
//   };
//
//   Server server(transport);                              // serves until it is stopped
//   server.on<ReadRequest>([&](const ReadRequest& request, Call& call) -> Result<ReadResponse> {
//     ...                                                  // in a fiber of its own
//   });
//   TRY(server.listen("tcp:0.0.0.0:9000"));
//
//   Client client(transport, "tcp:10.0.0.7:9000");         // connects when it must
//   ReadResponse response = TRY(client.call(ReadRequest{.inode = 5}, deadline));
//
// Every call ends by its deadline, and at the latest then with an error. What became of it is its
// Fate: not begun (whoever wants may do it again elsewhere), answered, or unknown. Nothing is done
// twice behind the caller's back: neither Client nor Server ever sends anything again.
//
// Deadlines travel as time left. A caller who gives up, or whose connection is lost, cancels: the
// handler can see it, and goes on or not; its answer then goes nowhere.
//
// Bounds. Each call has one of kCallsMax credits of its connection until it is answered, also when
// its caller has given up; who finds none waits. A server runs ServerOptions::calls_max calls of
// all its connections and answers others with kUnavailable, not begun. Requests and responses have
// at most 1 MiB; what is larger goes as bulk data (net/transport.h).
//
// Either side of a connection may call the other: call.session().call(...) in a handler.
//
// Threads: one executor.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/executor.h"
#include "net/codec.h"
#include "net/transport.h"

namespace hadal::net {

inline constexpr size_t kCallsMax = 256;  // of one side of a connection, without an answer

/// What became of a call that has ended.
enum class Fate : uint8_t {
  kNotBegun,  // no handler has seen it or ever will
  kUnknown,   // it may have been executed, or be executed still
  kAnswered,  // its handler has answered, with a response or with an error
};

template <typename T>
concept Request = Message<T> && Message<typename T::Response> && requires {
  { T::kMethod } -> std::convertible_to<uint16_t>;
  { T::kName } -> std::convertible_to<std::string_view>;
};

class Session;
class Methods;

/// A call that is being served.
class Call {
 public:
  Call(std::shared_ptr<Session> session, std::shared_ptr<Methods> methods, uint64_t id,
       Deadline deadline);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  /// By this side's clock.
  Deadline deadline() const { return deadline_; }
  /// Nobody waits for the answer any more.
  bool cancelled() const { return cancelled_.is_set(); }
  /// False: the time has passed, and somebody still waits.
  bool wait_cancelled(Deadline until) { return cancelled_.wait(until); }
  /// Who has called: for calls back, and for bulk data by session().connection().
  Session& session() { return *session_; }

 private:
  friend class Session;
  template <Message Response>
  friend class Reply;

  void answer(void (*encode_response)(const void*, std::vector<std::byte>&, Result<>&),
              const void* response);
  void answer(const Error& error);

  const std::shared_ptr<Session> session_;
  const std::shared_ptr<Methods> methods_;
  const uint64_t id_;
  const Deadline deadline_;
  FiberEvent cancelled_;
  bool answered_ = false;
};

/// The one answer to a call. Whoever holds it answers, now or later; if it is dropped the caller
/// gets kInternal.
template <Message Response>
class Reply {
 public:
  explicit Reply(std::shared_ptr<Call> call) : call_(std::move(call)) {}
  ~Reply() {
    if (call_) call_->answer(Error{Code::kInternal, "the handler ended without an answer"});
  }
  Reply(Reply&&) noexcept = default;
  Reply& operator=(Reply&&) = delete;

  Call& call() { return *call_; }

  /// In a fiber it waits for room in the queue.
  void send(const Result<Response>& result) && {
    const std::shared_ptr<Call> call = std::move(call_);
    if (!result) return call->answer(result.error());
    call->answer(
        [](const void* response, std::vector<std::byte>& out, Result<>& encoded) {
          encoded = encode(*static_cast<const Response*>(response), out, "response");
        },
        &*result);
  }

 private:
  std::shared_ptr<Call> call_;
};

/// What a process answers to: handlers by method, and how many calls may run.
class Methods {
 public:
  explicit Methods(size_t calls_max) : calls_max_(calls_max) {}

  /// `handler` is called in a fiber per call, either as Result<Response>(Request, Call&) or as
  /// void(Request, Reply<Response>). A method has one handler.
  template <Request R, typename H>
  void add(H handler);

  /// Why no calls are begun any more; empty: they are.
  std::string refusal = {};
  size_t calls() const { return calls_; }
  size_t calls_max() const { return calls_max_; }
  /// Wakes when the last call has ended.
  bool wait_until_idle(Deadline deadline);

 private:
  friend class Call;
  friend class Session;
  /// Decodes the request and starts its fiber. An error: it has not begun.
  using Start = std::function<Result<>(Executor&, Bytes request, const std::shared_ptr<Call>&)>;
  struct Method {
    std::string_view name;
    Start start;
  };

  void add(uint16_t method, Method handler);

  const size_t calls_max_;
  size_t calls_ = 0;
  std::map<uint16_t, Method> methods_;
  WaitList idle_;
};

/// Calls over one connection, both ways. Ends with it.
class Session final : public Handler, public std::enable_shared_from_this<Session> {
 public:
  /// `methods` are what the other side may call; null: nothing.
  static std::shared_ptr<Session> start(Executor& executor, std::shared_ptr<Connection> connection,
                                        std::shared_ptr<Methods> methods);

  /// Waits. The handler's error as it is, with `fate` kAnswered; kTimeout; kUnavailable for a
  /// lost connection or a server that will not; kInvalidArgument for a request that is too large.
  template <Request R>
  Result<typename R::Response> call(const R& request, Deadline deadline, Fate* fate = nullptr);

  Connection& connection() { return *connection_; }
  bool is_open() const { return connection_->is_open(); }

 private:
  friend class Call;
  struct Waiting;
  struct Coding {  // of a request type
    uint16_t method;
    std::string_view name;
    Result<> (*encode)(const void* request, std::vector<std::byte>& out);
    Result<> (*decode)(Bytes bytes, void* response);
  };

  Session(Executor& executor, std::shared_ptr<Connection> connection,
          std::shared_ptr<Methods> methods);

  void on_message(Bytes message) override;
  void on_lost(const Error& error) override;

  Result<> run_call(const Coding& coding, const void* request, void* response, Deadline deadline,
                    Fate& fate);
  Result<> called(Reader& in);
  Result<> begin(uint16_t method, Bytes request, const std::shared_ptr<Call>& call);
  Result<> replied(Reader& in);
  Result<> failed(Reader& in);
  Result<> cancelled(Reader& in);
  Result<Waiting*> take_waiting(uint64_t id);
  void post_error(uint64_t id, bool begun, const Error& error);
  void post_cancel(uint64_t id);

  Executor& executor_;
  const std::shared_ptr<Connection> connection_;
  const std::shared_ptr<Methods> methods_;
  std::vector<std::byte> scratch_;  // a message that is being made; nobody waits meanwhile
  FiberSemaphore credits_{kCallsMax};
  uint64_t last_id_ = 0, last_peer_id_ = 0;
  std::map<uint64_t, Waiting*> waiting_;  // null: the caller has given up
  std::map<uint64_t, Call*> serving_;
  bool lost_ = false;
};

struct ServerOptions {
  size_t calls_max = 1024;  // at a time
};

/// Serves methods on addresses. What handlers use must live until stop() has returned.
class Server {
 public:
  explicit Server(Transport& transport, const ServerOptions& options = {});
  /// Closes its connections. Handlers that run are cancelled, but not waited for.
  ~Server();

  /// See Methods::add(). Before listen().
  template <Request R, typename H>
  void on(H handler) {
    methods_->add<R>(std::move(handler));
  }

  Result<> listen(std::string_view address);
  /// Where it listens, with the ports that were chosen.
  std::vector<std::string> addresses() const;
  size_t calls() const { return methods_->calls(); }

  /// Begins no more calls, waits for those that run until the deadline, then cancels them, waits
  /// for their ends, and closes the connections.
  void stop(Deadline deadline);

 private:
  struct Sessions;

  Transport& transport_;
  const std::shared_ptr<Methods> methods_;
  const std::shared_ptr<Sessions> sessions_;
  std::vector<std::unique_ptr<Listener>> listeners_;
};

struct ClientOptions {
  int64_t connect_timeout_ns = 3 * kSecond;
  int64_t backoff_ns_min = 10 * kMillisecond;  // between two attempts to connect
  int64_t backoff_ns_max = 2 * kSecond;
};

/// Calls one address over one connection, which it makes when a call needs one. After an attempt
/// that failed the next one waits, longer each time.
class Client {
 public:
  /// `methods`: what the server may call; null: nothing.
  Client(Transport& transport, std::string address, const ClientOptions& options = {},
         std::shared_ptr<Methods> methods = nullptr);
  /// Closes the connection; calls that wait for one fail.
  ~Client();

  /// As Session::call(). If there is no connection it waits for one attempt to make one.
  template <Request R>
  Result<typename R::Response> call(const R& request, Deadline deadline, Fate* fate = nullptr) {
    if (fate != nullptr) *fate = Fate::kNotBegun;
    const std::shared_ptr<Session> session = TRY(this->session(deadline));
    return session->call(request, deadline, fate);
  }

  /// The open one, or a new one; waits.
  Result<std::shared_ptr<Session>> session(Deadline deadline);

 private:
  struct State;
  const std::shared_ptr<State> state_;
};

// --- templates --------------------------------------------------------------------------------

template <Request R, typename H>
void Methods::add(H handler) {
  using Response = typename R::Response;
  const auto shared = std::make_shared<H>(std::move(handler));
  Start start = [shared](Executor& executor, Bytes bytes,
                         const std::shared_ptr<Call>& call) -> Result<> {
    R request;
    TRY(decode(bytes, request, R::kName));
    executor.spawn(R::kName,
                   [shared, request = std::move(request), reply = Reply<Response>(call)]() mutable {
                     if constexpr (std::invocable<H&, R, Reply<Response>>) {
                       (*shared)(std::move(request), std::move(reply));
                     } else {
                       Result<Response> result = (*shared)(std::move(request), reply.call());
                       std::move(reply).send(result);
                     }
                   });
    return {};
  };
  add(R::kMethod, {R::kName, std::move(start)});
}

template <Request R>
Result<typename R::Response> Session::call(const R& request, Deadline deadline, Fate* fate) {
  using Response = typename R::Response;
  static constexpr Coding kCoding = {
      R::kMethod, R::kName,
      [](const void* from, std::vector<std::byte>& out) {
        return encode(*static_cast<const R*>(from), out, R::kName);
      },
      [](Bytes bytes, void* to) { return decode(bytes, *static_cast<Response*>(to), R::kName); }};
  Response response = {};
  Fate ignored;
  TRY(run_call(kCoding, &request, &response, deadline, fate != nullptr ? *fate : ignored));
  return response;
}

}  // namespace hadal::net
