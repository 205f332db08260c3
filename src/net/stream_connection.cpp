#include "net/stream_connection.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/core.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "net/codec.h"

namespace hadal::net {
namespace {

constexpr size_t kInputBytes = 64 * 1024;
constexpr size_t kHeardBytes = 16 * 1024;       // of a frame that is not whole count as a word
constexpr size_t kTurnBytes = size_t{2} << 20;  // read or written before others have their turn

struct Hello {
  uint32_t version_min = kVersion, version_max = kVersion;
  Hash128 process = {};
  std::string name = {};
  uint64_t message_bytes_max = kMessageBytesMax;

  static void fields(auto& self, auto& visit) {
    visit(self.version_min);
    visit(self.version_max);
    visit(self.process);
    visit(self.name, at_most(kNameBytesMax));
    visit(self.message_bytes_max);
  }
};

bool is_data(FrameKind kind) {
  return kind == FrameKind::kPulled || kind == FrameKind::kPushed;
}

}  // namespace

StreamConnection::StreamConnection(Executor& executor,
                                   std::shared_ptr<const TransportOptions> options,
                                   std::shared_ptr<RegionTable> regions,
                                   std::unique_ptr<Stream> stream, std::string address)
    : executor_(executor),
      options_(std::move(options)),
      regions_(std::move(regions)),
      stream_(std::move(stream)),
      address_(std::move(address)),
      in_(kInputBytes),
      transfers_(*regions_, *this) {}

StreamConnection::~StreamConnection() {
  if (timer_ != 0) executor_.stop_timer(timer_);
  if (piece_) std::erase(piece_->region->borrowers, static_cast<Borrower*>(this));
  release_stream();
}

/// A stream may not end within a call of its own, which may be what brought us here.
void StreamConnection::release_stream() {
  if (stream_ != nullptr) executor_.post([stream = std::move(stream_)] {});
}

std::string StreamConnection::peer_text() const {
  return peer_.name.empty() ? address_ : fmt::format("{} ({})", address_, peer_.name);
}

void StreamConnection::open(std::move_only_function<void()> opened) {
  opened_ = std::move(opened);
  born_ns_ = heard_ns_ = written_ns_ = executor_.now_ns();
  const Hello hello{.process = options_->self.process, .name = options_->self.name};
  std::vector<std::byte> payload;
  CHECK(encode(hello, payload, "hello"), "the name of this process is too long");
  send(FrameKind::kHello, 0, payload);
  tick();
  stream_->start([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->ready();
  });
}

Result<> StreamConnection::wait_until_open(Deadline deadline) {
  const auto self = shared_from_this();
  if (!open_.wait(deadline)) {
    return fail(Code::kTimeout, address_ + ": the deadline passed while shaking hands");
  }
  if (lost_) return std::unexpected(*lost_);
  return {};
}

void StreamConnection::start(std::shared_ptr<Handler> handler) {
  CHECK(handler_ == nullptr, "a connection is started twice");
  handler_ = std::move(handler);
  if (lost_) {  // before it was started: say so now
    executor_.post([handler = std::move(handler_), error = *lost_] { handler->on_lost(error); });
    return;
  }
  executor_.post([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->ready();
  });
}

// --- output ----------------------------------------------------------------------------------

Result<> StreamConnection::wait_for_room(Deadline deadline) {
  const auto self = shared_from_this();
  while (!lost_ && queued() >= kQueueBytes) {
    if (!room_.wait(deadline)) {
      return fail(Code::kTimeout, peer_text() +
                                      ": the deadline passed before there was room in "
                                      "the queue");
    }
  }
  if (lost_) return std::unexpected(*lost_);
  return {};
}

Connection::Ticket StreamConnection::post(Bytes message) {
  CHECK(message.size() <= message_bytes_max_, "a message is larger than the peer takes");
  const Ticket ticket = out_written_ + queued();
  send(FrameKind::kMessage, 0, message);
  return ticket;
}

void StreamConnection::send(FrameKind kind, uint64_t id, Bytes payload) {
  if (lost_) return;
  if (queued() + payload.size() > kQueueBytesMax) {
    return lose(
        {Code::kNoSpace, fmt::format("{} bytes are queued; the peer does not read", queued())});
  }
  const size_t at = out_.size();
  out_.resize(at + kHeaderBytes + payload.size());
  std::byte* const header = out_.data() + at;
  const uint32_t crc = crc32c::copy(0, header + kHeaderBytes, payload);
  write_header({kind, id, out_sequence_++, static_cast<uint32_t>(payload.size()), crc},
               std::span<std::byte, kHeaderBytes>(header, kHeaderBytes));
  schedule_flush();
}

bool StreamConnection::withdraw(Ticket ticket) {
  if (ticket < out_written_ || ticket - out_written_ >= queued()) return ticket >= out_written_;
  const std::span<std::byte, kHeaderBytes> at(out_.data() + out_begin_ + (ticket - out_written_),
                                              kHeaderBytes);
  FrameHeader header = read_header(at).value();
  header.kind = FrameKind::kNothing;
  write_header(header, at);
  return true;
}

/// What is sent in one turn of the executor goes out together.
void StreamConnection::schedule_flush() {
  if (flush_scheduled_ || blocked_ || lost_) return;
  flush_scheduled_ = true;
  executor_.post([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->flush();
  });
}

/// What is to be written, in this order. Prepares the next piece.
size_t StreamConnection::gather(std::span<Bytes, 3> pieces) {
  if (!piece_ && open_.is_set() && transfers_.has_piece()) {
    piece_.emplace();
    if (transfers_.next_piece(*piece_)) {
      piece_->region->borrowers.push_back(this);
      piece_written_ = 0;
    } else {
      piece_.reset();
    }
  }
  size_t n = 0;
  const Bytes frames = Bytes(out_).subspan(out_begin_);
  if (!piece_ || piece_written_ == 0) {
    if (!frames.empty()) pieces[n++] = frames;
    if (!piece_) return n;
    write_header({piece_->kind, piece_->id, out_sequence_,
                  static_cast<uint32_t>(piece_->bytes.size()), piece_->crc},
                 piece_header_);
  }
  const size_t header = std::min(piece_written_, kHeaderBytes);
  if (header < kHeaderBytes) pieces[n++] = Bytes(piece_header_).subspan(header);
  pieces[n++] = piece_->bytes.subspan(piece_written_ - header);
  if (piece_written_ > 0 && !frames.empty()) pieces[n++] = frames;
  return n;
}

void StreamConnection::flush() {
  flush_scheduled_ = false;
  const bool was_blocked = std::exchange(blocked_, false);
  for (size_t turn = 0; !lost_;) {
    std::array<Bytes, 3> pieces;
    const size_t n = gather(pieces);
    size_t wanted = 0;
    for (size_t i = 0; i < n; ++i) wanted += pieces[i].size();
    if (wanted == 0) break;
    const Result<size_t> written = stream_->write(std::span(pieces).first(n));
    if (!written) return lose(written.error());
    if (*written > 0 || !was_blocked) written_ns_ = executor_.now_ns();
    consume(*written);
    if (*written < wanted) {
      blocked_ = true;
      break;
    }
    turn += *written;
    if (turn >= kTurnBytes) {
      schedule_flush();
      break;
    }
  }
  if (queued() < kQueueBytes) room_.wake_all();
}

void StreamConnection::consume(size_t bytes) {
  if (piece_ && piece_written_ > 0) {
    const size_t left = kHeaderBytes + piece_->bytes.size() - piece_written_;
    const size_t of_piece = std::min(bytes, left);
    consume_piece(of_piece);
    bytes -= of_piece;
  }
  const size_t of_frames = std::min(bytes, queued());
  out_begin_ += of_frames;
  out_written_ += of_frames;
  if (out_begin_ == out_.size()) {
    out_.clear();
    out_begin_ = 0;
  } else if (out_begin_ > out_.size() / 2) {
    out_.erase(out_.begin(), out_.begin() + static_cast<ptrdiff_t>(out_begin_));
    out_begin_ = 0;
  }
  if (bytes > of_frames) {
    ++out_sequence_;  // the piece has begun: its number is taken
    consume_piece(bytes - of_frames);
  }
}

void StreamConnection::consume_piece(size_t bytes) {
  piece_written_ += bytes;
  if (piece_written_ < kHeaderBytes + piece_->bytes.size()) return;
  std::erase(piece_->region->borrowers, static_cast<Borrower*>(this));
  piece_.reset();
  piece_rescued_.clear();
}

void StreamConnection::give_back() {
  piece_rescued_.assign(piece_->bytes.begin(), piece_->bytes.end());
  piece_->bytes = piece_rescued_;
}

// --- input -----------------------------------------------------------------------------------

void StreamConnection::ready() {
  if (lost_) return;
  if (blocked_) flush();
  receive();
}

void StreamConnection::receive() {
  for (size_t turn = 0; !lost_ && (!open_.is_set() || handler_ != nullptr);) {
    std::span<std::byte> first = free_input();
    std::span<std::byte> second;
    if (data_left_ > 0 && sink_.region != nullptr && !sink_.region->revoked) {
      second = first.first(kHeaderBytes);
      first = {sink_.to, data_left_};
    } else if (data_left_ > 0) {
      first = first.first(std::min(first.size(), data_left_));
    }
    const Result<size_t> received = stream_->read(first, second);
    if (!received) return lose(received.error());
    if (*received > 0) {
      take(*received);
    }
    if (*received < first.size() + second.size()) return;
    turn += *received;
    if (turn >= kTurnBytes) {
      return executor_.post([weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->ready();
      });
    }
  }
}

void StreamConnection::take(size_t bytes) {
  const uint64_t frames = in_frames_;
  const size_t of_payload = std::min(bytes, data_left_);
  in_end_ += bytes - of_payload;
  if (of_payload > 0) take_payload(of_payload);
  parse();
  // Pings that disappear in the gap of a broken frame are not heard.
  unheard_bytes_ += bytes;
  if (in_frames_ == frames && unheard_bytes_ < kHeardBytes) return;
  heard_ns_ = executor_.now_ns();
  unheard_bytes_ = 0;
}

/// Room behind what is not parsed: at least some, and enough for a frame that is half there to get
/// on. The buffer never has more than twice what has come.
std::span<std::byte> StreamConnection::free_input() {
  if (in_begin_ > 0) {
    std::memmove(in_.data(), in_.data() + in_begin_, in_end_ - in_begin_);
    in_end_ -= in_begin_;
    in_begin_ = 0;
  }
  if (in_end_ == 0 && in_.size() > kInputBytes) std::vector<std::byte>(kInputBytes).swap(in_);
  if (in_end_ == in_.size()) in_.resize(2 * in_.size());
  return std::span(in_).subspan(in_end_);
}

/// Payload that has been read to where the sink is, or, where that is nowhere, into the buffer.
void StreamConnection::take_payload(size_t bytes) {
  if (sink_.region != nullptr && !sink_.region->revoked) {
    data_crc_ = crc32c::extend(data_crc_, {sink_.to, bytes});
    sink_.to += bytes;
  } else {
    sink_.region = nullptr;
  }
  data_left_ -= bytes;
  if (data_left_ == 0) end_payload();
}

void StreamConnection::parse() {
  while (!lost_ && data_left_ == 0 && (!open_.is_set() || handler_ != nullptr) && parse_one()) {
  }
}

/// False: the next frame is not there yet.
bool StreamConnection::parse_one() {
  const Bytes input = Bytes(in_).subspan(in_begin_, in_end_ - in_begin_);
  if (input.size() < kHeaderBytes) return false;
  const Result<FrameHeader> header = read_header(input.first<kHeaderBytes>());
  if (!header) return refuse(header.error()), false;
  if (header->sequence != in_sequence_) {
    refuse({Code::kCorrupt, fmt::format("frame {} came where {} was next: it was repeated, or "
                                        "others are missing",
                                        header->sequence, in_sequence_)});
    return false;
  }
  Result<> result;
  if (is_data(header->kind) && open_.is_set()) {
    ++in_sequence_;
    in_begin_ += kHeaderBytes;
    result = begin_payload(*header);
  } else {
    if (input.size() - kHeaderBytes < header->bytes) return false;
    const Bytes payload = input.subspan(kHeaderBytes, header->bytes);
    ++in_sequence_;
    in_begin_ += kHeaderBytes + header->bytes;
    ++in_frames_;
    result = crc32c::value(payload) == header->crc
                 ? dispatch(*header, payload)
                 : fail(Code::kCorrupt, "the payload of a frame fails its checksum");
  }
  if (!result) refuse(std::move(result).error());
  return !lost_;
}

Result<> StreamConnection::begin_payload(const FrameHeader& header) {
  sink_ = TRY(transfers_.sink(header));
  if (sink_.region != nullptr && sink_.region->revoked) sink_.region = nullptr;
  data_ = header;
  data_crc_ = 0;
  data_left_ = header.bytes;
  const size_t here = std::min<size_t>(in_end_ - in_begin_, header.bytes);
  if (sink_.region != nullptr) std::memcpy(sink_.to, in_.data() + in_begin_, here);
  in_begin_ += here;
  take_payload(here);
  return {};
}

void StreamConnection::end_payload() {
  ++in_frames_;
  const bool thrown_away = std::exchange(sink_, {}).region == nullptr;
  transfers_.landed(*data_, thrown_away || data_crc_ == data_->crc);
}

Result<> StreamConnection::dispatch(const FrameHeader& header, Bytes payload) {
  if (header.kind == FrameKind::kGoodbye) {
    lose({Code::kUnavailable, fmt::format("the peer said goodbye: {}", text_of(payload))});
    return {};
  }
  if ((header.kind == FrameKind::kHello) == open_.is_set()) {
    return fail(Code::kCorrupt, open_.is_set() ? "a second hello" : "a frame before the hello");
  }
  switch (header.kind) {
    case FrameKind::kHello: return hello(payload);
    case FrameKind::kMessage: handler_->on_message(payload); return {};
    case FrameKind::kPing:  // whatever is queued says as much as a pong
      if (queued() == 0) send(FrameKind::kPong, 0, {});
      return {};
    case FrameKind::kPong:
    case FrameKind::kNothing: return {};
    default: return transfers_.received(header, payload);
  }
}

Result<> StreamConnection::hello(Bytes payload) {
  Hello hello;
  TRY(decode(payload, hello, "hello"));
  if (hello.version_min > kVersion || hello.version_max < kVersion) {
    return fail(Code::kUnsupported,
                fmt::format("the peer speaks versions {} to {} of the protocol; here it is {}",
                            hello.version_min, hello.version_max, kVersion));
  }
  if (hello.message_bytes_max < kMessageBytesMin || hello.message_bytes_max > kMessageBytesMax) {
    return fail(Code::kCorrupt,
                fmt::format("the peer takes messages of {} bytes; it must be {} to "
                            "{}",
                            hello.message_bytes_max, kMessageBytesMin, kMessageBytesMax));
  }
  peer_ = {hello.process, std::move(hello.name)};
  message_bytes_max_ = hello.message_bytes_max;
  open_.set();
  if (opened_) std::exchange(opened_, nullptr)();
  return {};
}

// --- bulk ------------------------------------------------------------------------------------

Result<uint32_t> StreamConnection::pull(const BulkHandle& handle, uint64_t offset,
                                        std::span<std::byte> to, Deadline deadline) {
  const auto self = shared_from_this();
  return in(peer_text(), transfers_.run(FrameKind::kPull, handle, offset, to, deadline));
}

Result<uint32_t> StreamConnection::push(const BulkHandle& handle, uint64_t offset, Bytes from,
                                        Deadline deadline) {
  const auto self = shared_from_this();
  const std::span<std::byte> memory(const_cast<std::byte*>(from.data()), from.size());  // only read
  return in(peer_text(), transfers_.run(FrameKind::kPush, handle, offset, memory, deadline));
}

// --- time, and the end -----------------------------------------------------------------------

void StreamConnection::tick() {
  const int64_t now_ns = executor_.now_ns();
  const int64_t silent_ns = now_ns - (open_.is_set() ? heard_ns_ : born_ns_);
  if (silent_ns >= options_->lost_after_ns) receive();  // it may be we who were held up
  if (lost_) return;
  if (now_ns - (open_.is_set() ? heard_ns_ : born_ns_) >= options_->lost_after_ns) {
    return lose({Code::kUnavailable,
                 fmt::format("no word from the peer for {} ms", silent_ns / kMillisecond)});
  }
  if (blocked_ && now_ns - written_ns_ >= options_->lost_after_ns) {
    return lose({Code::kUnavailable, fmt::format("the peer has read nothing for {} ms",
                                                 (now_ns - written_ns_) / kMillisecond)});
  }
  if (open_.is_set() && silent_ns >= options_->ping_after_ns && queued() == 0) {
    send(FrameKind::kPing, 0, {});
  }
  timer_ =
      executor_.start_timer(add_ns(now_ns, options_->ping_after_ns), [weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->tick();
      });
}

void StreamConnection::close(std::string_view reason) {
  if (lost_) return;
  say_goodbye(reason);
  lose({Code::kCancelled, fmt::format("closed here: {}", reason)});
}

/// As far as it goes without waiting.
void StreamConnection::say_goodbye(std::string_view reason) {
  send(FrameKind::kGoodbye, 0, bytes_of(reason.substr(0, kControlBytesMax)));
  if (!lost_) flush();
}

/// What came cannot be believed.
void StreamConnection::refuse(Error error) {
  if (lost_) return;
  say_goodbye(error.message);
  lose(std::move(error));
}

void StreamConnection::lose(Error error) {
  if (lost_) return;
  lost_ = std::move(error).in(peer_text());
  executor_.stop_timer(std::exchange(timer_, 0));
  transfers_.lost(*lost_);
  room_.wake_all();
  open_.set();  // for who waits in wait_until_open(), which looks at lost_
  opened_ = nullptr;
  release_stream();
  if (handler_ != nullptr) {
    executor_.post([handler = std::move(handler_), error = *lost_] { handler->on_lost(error); });
  }
}

}  // namespace hadal::net
