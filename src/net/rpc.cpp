#include "net/rpc.h"

#include <algorithm>
#include <optional>
#include <set>

#include <fmt/core.h>

#include "base/check.h"
#include "net/frame.h"

namespace hadal::net {
namespace {

enum class Kind : uint8_t { kCall = 1, kReply = 2, kError = 3, kCancel = 4 };

struct CallHeader {
  uint64_t id = 0;
  uint16_t method = 0;
  std::optional<uint64_t> left_us = {};

  static void fields(auto& self, auto& visit) {
    visit(self.id);
    visit(self.method);
    visit(self.left_us);
  }
};

struct ErrorReply {
  uint64_t id = 0;
  bool begun = false;
  Code code = Code::kInternal;
  std::string text = {};

  static void fields(auto& self, auto& visit) {
    visit(self.id);
    visit(self.begun);
    visit(self.code, Code::kInternal);
    visit(self.text, at_most(kErrorTextBytesMax));
  }
};

std::vector<std::byte>& begin_message(std::vector<std::byte>& buffer, Kind kind) {
  buffer.clear();
  buffer.push_back(static_cast<std::byte>(kind));
  return buffer;
}

std::optional<uint64_t> left_us(Deadline deadline, const Clock& clock) {
  if (deadline == Deadline::never()) return std::nullopt;
  return static_cast<uint64_t>(deadline.left_ns(clock) / kMicrosecond);
}

Deadline deadline_of(std::optional<uint64_t> left_us, const Clock& clock) {
  constexpr uint64_t kMost = kNever / kMicrosecond;
  if (!left_us || *left_us > kMost) return Deadline::never();
  return Deadline::after(clock, static_cast<int64_t>(*left_us) * kMicrosecond);
}

}  // namespace

// --- a call that is served --------------------------------------------------------------------

Call::Call(std::shared_ptr<Session> session, std::shared_ptr<Methods> methods, uint64_t id,
           Deadline deadline)
    : session_(std::move(session)), methods_(std::move(methods)), id_(id), deadline_(deadline) {
  session_->serving_.emplace(id_, this);
  if (methods_ != nullptr) ++methods_->calls_;
}

Call::~Call() {
  session_->serving_.erase(id_);
  if (methods_ != nullptr && --methods_->calls_ == 0) methods_->idle_.wake_all();
}

void Call::answer(void (*encode_response)(const void*, std::vector<std::byte>&, Result<>&),
                  const void* response) {
  Connection& connection = *session_->connection_;
  // A call that waits here keeps its place among those that run, which bounds who does.
  if (in_fiber() && !connection.wait_for_room(deadline_)) {
    return answer(Error{Code::kTimeout, "the deadline passed before the response was sent"});
  }
  std::vector<std::byte>& message = begin_message(session_->scratch_, Kind::kReply);
  Writer(message).varint(id_);
  Result<> encoded;
  encode_response(response, message, encoded);
  if (!encoded) return answer(Error{Code::kInternal, std::move(encoded).error().message});
  if (message.size() > connection.message_bytes_max()) {
    return answer(
        Error{Code::kInternal, fmt::format("the response has {} bytes; the peer takes {}",
                                           message.size(), connection.message_bytes_max())});
  }
  CHECK(!std::exchange(answered_, true), "a call is answered twice");
  session_->serving_.erase(id_);
  connection.post(message);
}

void Call::answer(const Error& error) {
  CHECK(!std::exchange(answered_, true), "a call is answered twice");
  session_->serving_.erase(id_);
  session_->post_error(id_, true, error);
}

void Methods::add(uint16_t method, Method handler) {
  CHECK(methods_.emplace(method, std::move(handler)).second, "a method has two handlers");
}

bool Methods::wait_until_idle(Deadline deadline) {
  return calls_ == 0 || idle_.wait(deadline);
}

// --- a session --------------------------------------------------------------------------------

/// A call of this side, on the stack of the fiber that waits.
struct Session::Waiting {
  const Coding& coding;
  void* response;
  Connection::Ticket ticket = 0;
  Fate fate = Fate::kUnknown;
  Result<> result = {};
  FiberEvent end = {};
};

Session::Session(Executor& executor, std::shared_ptr<Connection> connection,
                 std::shared_ptr<Methods> methods)
    : executor_(executor), connection_(std::move(connection)), methods_(std::move(methods)) {}

std::shared_ptr<Session> Session::start(Executor& executor, std::shared_ptr<Connection> connection,
                                        std::shared_ptr<Methods> methods) {
  const std::shared_ptr<Session> session(
      new Session(executor, std::move(connection), std::move(methods)));
  session->connection_->start(session);
  return session;
}

Result<> Session::run_call(const Coding& coding, const void* request, void* response,
                           Deadline deadline, Fate& fate) {
  const auto self = shared_from_this();
  fate = Fate::kNotBegun;
  const auto late = [&](std::string_view when) {
    return fail(Code::kTimeout, fmt::format("{}: the deadline of {} passed {}",
                                            connection_->peer_text(), coding.name, when));
  };
  if (!credits_.acquire(1, deadline)) return late("before a call of those before had an answer");
  Waiting waiting{coding, response};
  struct Entry {
    Session& session;
    Waiting& waiting;
    uint64_t id = 0;
    /// The credit of a call that has left comes back with its answer.
    ~Entry() {
      const auto it = session.waiting_.find(id);
      const bool ended = it == session.waiting_.end();
      if (!ended && !session.connection_->withdraw(waiting.ticket)) {
        it->second = nullptr;
        session.post_cancel(id);
        return;
      }
      if (!ended) session.waiting_.erase(it);
      session.credits_.release(1);
    }
  } entry{*this, waiting};

  if (const auto room = connection_->wait_for_room(deadline); !room) {
    if (room.error().code == Code::kTimeout) return late("before it was sent");
    return fail(Code::kUnavailable,
                fmt::format("{}; {} was not sent", room.error().message, coding.name));
  }
  const uint64_t id = ++last_id_;
  std::vector<std::byte>& message = begin_message(scratch_, Kind::kCall);
  Encoder encoder(message);
  encoder(CallHeader{id, coding.method, left_us(deadline, executor_.clock())});
  TRY(coding.encode(request, message));
  if (message.size() > connection_->message_bytes_max()) {
    return fail(Code::kInvalidArgument,
                fmt::format("{} has {} bytes; the peer takes {}", coding.name, message.size(),
                            connection_->message_bytes_max()));
  }
  waiting.ticket = connection_->post(message);
  waiting_.emplace(id, &waiting);
  entry.id = id;
  if (!waiting.end.wait(deadline)) {
    fate = Fate::kUnknown;
    if (!connection_->withdraw(waiting.ticket)) return late("before it was answered");
    fate = Fate::kNotBegun;
    return late("before it was sent");
  }
  fate = waiting.fate;
  return std::move(waiting.result);
}

void Session::on_message(Bytes message) {
  const auto self = shared_from_this();
  Reader in(message);
  const Kind kind{in.u8()};
  Result<> result;
  switch (kind) {
    case Kind::kCall: result = called(in); break;
    case Kind::kReply: result = replied(in); break;
    case Kind::kError: result = failed(in); break;
    case Kind::kCancel: result = cancelled(in); break;
    default: in.reject("a message is neither call, reply, error nor cancel");
  }
  if (const Result<> read = in.check("message"); result && !read) result = read;
  if (!result) connection_->close(result.error().message);
}

Result<> Session::called(Reader& in) {
  CallHeader header;
  decode_front(in, header);
  TRY(in.check("call"));
  if (header.id <= last_peer_id_ || serving_.size() >= kCallsMax) {
    return fail(Code::kCorrupt,
                fmt::format("call {} follows {} while {} have no answer; ids grow, and there are "
                            "{} at a time",
                            header.id, last_peer_id_, serving_.size(), kCallsMax));
  }
  last_peer_id_ = header.id;
  const bool busy = methods_ != nullptr && methods_->calls() >= methods_->calls_max();
  Result<> begun;
  if (busy) {
    begun = fail(Code::kUnavailable,
                 fmt::format("busy with {} calls, as many as it takes", methods_->calls_max()));
  } else {
    const auto call = std::make_shared<Call>(shared_from_this(), methods_, header.id,
                                             deadline_of(header.left_us, executor_.clock()));
    begun = begin(header.method, in.bytes(in.remaining()), call);
  }
  if (!begun) post_error(header.id, false, begun.error());
  return {};
}

Result<> Session::begin(uint16_t method, Bytes request, const std::shared_ptr<Call>& call) {
  if (methods_ == nullptr) return fail(Code::kUnsupported, "calls are not served here");
  const auto it = methods_->methods_.find(method);
  if (it == methods_->methods_.end()) {
    return fail(Code::kUnsupported, fmt::format("method {} is not served here", method));
  }
  if (!methods_->refusal.empty()) return fail(Code::kUnavailable, methods_->refusal);
  if (call->deadline().passed(executor_.clock())) {
    return fail(Code::kTimeout, fmt::format("{} came after its deadline", it->second.name));
  }
  return it->second.start(executor_, request, call);
}

/// Null: its caller has given up, and the answer gives back the credit.
Result<Session::Waiting*> Session::take_waiting(uint64_t id) {
  const auto it = waiting_.find(id);
  if (it == waiting_.end()) {
    return fail(Code::kCorrupt, fmt::format("an answer to call {}, which has none to come", id));
  }
  Waiting* const waiting = it->second;
  waiting_.erase(it);
  if (waiting == nullptr) credits_.release(1);
  return waiting;
}

Result<> Session::replied(Reader& in) {
  const uint64_t id = in.varint();
  TRY(in.check("reply"));
  Waiting* const waiting = TRY(take_waiting(id));
  if (waiting == nullptr) return {};
  waiting->fate = Fate::kAnswered;
  waiting->result = hadal::in(connection_->peer_text(),
                              waiting->coding.decode(in.bytes(in.remaining()), waiting->response));
  waiting->end.set();
  return {};
}

Result<> Session::failed(Reader& in) {
  ErrorReply error;
  Decoder decoder(in, true);
  ErrorReply::fields(error, decoder);
  TRY(in.check("error"));
  Waiting* const waiting = TRY(take_waiting(error.id));
  if (waiting == nullptr) return {};
  waiting->fate = error.begun ? Fate::kAnswered : Fate::kNotBegun;
  waiting->result = fail(error.code, fmt::format("{}: {}", connection_->peer_text(), error.text));
  waiting->end.set();
  return {};
}

Result<> Session::cancelled(Reader& in) {
  const auto it = serving_.find(in.varint());
  if (it != serving_.end()) it->second->cancelled_.set();
  return {};
}

void Session::on_lost(const Error& error) {
  const auto self = shared_from_this();
  lost_ = true;
  for (const auto& [id, waiting] : std::exchange(waiting_, {})) {
    if (waiting == nullptr) {
      credits_.release(1);
      continue;
    }
    const bool sent = !connection_->withdraw(waiting->ticket);
    waiting->fate = sent ? Fate::kUnknown : Fate::kNotBegun;
    waiting->result =
        fail(Code::kUnavailable, fmt::format("{}; {} {}", error.message, waiting->coding.name,
                                             sent ? "may have been executed" : "was not sent"));
    waiting->end.set();
  }
  for (const auto& [id, call] : serving_) call->cancelled_.set();
}

void Session::post_error(uint64_t id, bool begun, const Error& error) {
  std::vector<std::byte>& message = begin_message(scratch_, Kind::kError);
  CHECK(encode(ErrorReply{id, begun, error.code, error.message.substr(0, kErrorTextBytesMax)},
               message, "error"));
  connection_->post(message);
}

void Session::post_cancel(uint64_t id) {
  std::vector<std::byte>& message = begin_message(scratch_, Kind::kCancel);
  Writer(message).varint(id);
  connection_->post(message);
}

// --- a server ---------------------------------------------------------------------------------

/// The sessions of a server: what accepts may outlive it.
struct Server::Sessions {
  std::map<uint64_t, std::weak_ptr<Session>> sessions = {};
  uint64_t made = 0;
  size_t alive = 0;
  bool ended = false;

  void add(const std::shared_ptr<Session>& session) {
    if (sessions.size() >= 2 * alive + 16) {
      std::erase_if(sessions, [](const auto& entry) { return entry.second.expired(); });
      alive = sessions.size();
    }
    sessions.emplace(++made, session);
  }

  void close(std::string_view reason) {
    ended = true;
    for (const auto& [number, weak] : sessions) {
      if (const auto session = weak.lock()) session->connection().close(reason);
    }
  }
};

Server::Server(Transport& transport, const ServerOptions& options)
    : transport_(transport),
      methods_(std::make_shared<Methods>(options.calls_max)),
      sessions_(std::make_shared<Sessions>()) {}

Server::~Server() {
  sessions_->close("the server ends");
}

Result<> Server::listen(std::string_view address) {
  auto accept = [&executor = transport_.executor(), methods = methods_,
                 weak = std::weak_ptr(sessions_)](std::shared_ptr<Connection> connection) {
    const auto sessions = weak.lock();
    if (sessions == nullptr || sessions->ended) return;
    // The connection holds its session until it is lost.
    sessions->add(Session::start(executor, std::move(connection), methods));
  };
  listeners_.push_back(TRY(transport_.listen(address, std::move(accept))));
  return {};
}

std::vector<std::string> Server::addresses() const {
  std::vector<std::string> addresses;
  for (const auto& listener : listeners_) addresses.push_back(listener->address());
  return addresses;
}

void Server::stop(Deadline deadline) {
  methods_->refusal = "the server is stopping";
  listeners_.clear();
  methods_->wait_until_idle(deadline);
  // Lost connections cancel what runs on them.
  sessions_->close("the server has stopped");
  methods_->wait_until_idle(Deadline::never());
}

// --- a client ---------------------------------------------------------------------------------

/// Shared with the fiber that connects, which may outlive the client.
struct Client::State {
  Transport& transport;
  const std::string address;
  const ClientOptions options;
  const std::shared_ptr<Methods> methods;
  std::shared_ptr<Session> session = {};
  bool connecting = false, ended = false;
  int64_t backoff_ns = 0, retry_ns = 0;
  Error last_error = {Code::kCancelled, "the client has ended"};
  WaitList attempt = {};  // for its end

  State(Transport& t, std::string a, const ClientOptions& o, std::shared_ptr<Methods> m)
      : transport(t), address(std::move(a)), options(o), methods(std::move(m)) {}

  void connect();
};

void Client::State::connect() {
  Executor& executor = this_executor();
  if (retry_ns > executor.now_ns()) sleep_fiber(retry_ns - executor.now_ns());
  if (ended) return;
  auto connection =
      transport.connect(address, Deadline::after(executor.clock(), options.connect_timeout_ns));
  if (ended) return;
  if (connection) {
    session = Session::start(executor, *std::move(connection), methods);
    backoff_ns = options.backoff_ns_min;
  } else {
    last_error = std::move(connection).error();
    // Somewhere between once and twice, so that clients of one server do not come all at once.
    const int64_t base_ns = std::max(backoff_ns, options.backoff_ns_min);
    const uint64_t extra_ns = transport.random_key().low % static_cast<uint64_t>(base_ns);
    backoff_ns = std::min(options.backoff_ns_max, base_ns + static_cast<int64_t>(extra_ns));
  }
  retry_ns = executor.now_ns() + backoff_ns;
  connecting = false;
  attempt.wake_all();
}

Client::Client(Transport& transport, std::string address, const ClientOptions& options,
               std::shared_ptr<Methods> methods)
    : state_(std::make_shared<State>(transport, std::move(address), options, std::move(methods))) {
  CHECK(options.backoff_ns_min > 0 && options.backoff_ns_max >= options.backoff_ns_min);
}

Client::~Client() {
  state_->ended = true;
  state_->attempt.wake_all();
  if (state_->session) state_->session->connection().close("the client ends");
}

Result<std::shared_ptr<Session>> Client::session(Deadline deadline) {
  const auto state = state_;
  if (state->session && state->session->is_open()) return state->session;
  state->session = nullptr;
  if (!state->connecting) {
    state->connecting = true;
    state->transport.executor().spawn("connect", [state] { state->connect(); });
  }
  if (!state->attempt.wait(deadline)) {
    return fail(Code::kTimeout, fmt::format("{}: the deadline passed before there was a connection",
                                            state->address));
  }
  if (state->ended) return fail(Code::kCancelled, "the client has ended");
  if (state->session && state->session->is_open()) return state->session;
  return fail(Code::kUnavailable, state->last_error.message);
}

}  // namespace hadal::net
