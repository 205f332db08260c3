// A connection over a stream: frames in and out, the handshake, silence, and the end.
//
// States: opening (hellos are exchanged) -> open -> lost; nothing leads back. All work is done in
// four places: receive() reads and hands out what is complete, flush() writes what is queued,
// tick() looks at the clock, lose() ends it.
//
// Output is one buffer of finished frames and at most one piece of bulk data, which is sent from
// where it lies. A frame that has begun is finished first; between frames the buffer goes before
// the piece. Input is one buffer, except for the payload of a bulk frame, which is read straight to
// its destination together with no more than the header behind it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "net/bulk.h"
#include "net/frame.h"
#include "net/stream.h"
#include "net/transport.h"

namespace hadal::net {

class StreamConnection final : public Connection,
                               private Transfers::Host,
                               private Borrower,
                               public std::enable_shared_from_this<StreamConnection> {
 public:
  /// `address` is the peer's, with its scheme. What is given by reference outlives it.
  StreamConnection(Executor& executor, std::shared_ptr<const TransportOptions> options,
                   std::shared_ptr<RegionTable> regions, std::unique_ptr<Stream> stream,
                   std::string address);
  ~StreamConnection() override;

  /// Shakes hands. `opened` is called once, unless it is lost before.
  void open(std::move_only_function<void()> opened);
  /// Waits until it is open.
  Result<> wait_until_open(Deadline deadline);

  const Identity& peer() const override { return peer_; }
  std::string peer_text() const override;
  size_t message_bytes_max() const override { return message_bytes_max_; }
  void start(std::shared_ptr<Handler> handler) override;
  bool is_open() const override { return open_.is_set() && !lost_; }
  Result<> wait_for_room(Deadline deadline) override;
  Ticket post(Bytes message) override;
  bool withdraw(Ticket ticket) override;
  Result<uint32_t> pull(const BulkHandle& handle, uint64_t offset, std::span<std::byte> to,
                        Deadline deadline) override;
  Result<uint32_t> push(const BulkHandle& handle, uint64_t offset, Bytes from,
                        Deadline deadline) override;
  void close(std::string_view reason) override;

 private:
  // Output.
  void send(FrameKind kind, uint64_t id, Bytes payload) override;
  void piece_ready() override { schedule_flush(); }
  void give_back() override;
  void schedule_flush();
  void flush();
  size_t gather(std::span<Bytes, 3> pieces);
  void consume(size_t bytes);
  void consume_piece(size_t bytes);
  size_t queued() const { return out_.size() - out_begin_; }

  // Input.
  void ready();
  void receive();
  void take(size_t bytes);
  std::span<std::byte> free_input();
  void take_payload(size_t bytes);
  void parse();
  bool parse_one();
  Result<> begin_payload(const FrameHeader& header);
  void end_payload();
  Result<> dispatch(const FrameHeader& header, Bytes payload);
  Result<> hello(Bytes payload);

  void tick();
  void say_goodbye(std::string_view reason);
  void refuse(Error error);
  void lose(Error error);
  void release_stream();

  Executor& executor_;
  const std::shared_ptr<const TransportOptions> options_;
  const std::shared_ptr<RegionTable> regions_;
  std::unique_ptr<Stream> stream_;
  const std::string address_;
  Identity peer_;
  size_t message_bytes_max_ = kMessageBytesMin;
  std::shared_ptr<Handler> handler_;
  std::move_only_function<void()> opened_;
  FiberEvent open_;
  std::optional<Error> lost_;
  int64_t born_ns_ = 0, heard_ns_ = 0, written_ns_ = 0;
  TimerId timer_ = 0;

  std::vector<std::byte> out_;  // from out_begin_ on: frames that have not been written
  size_t out_begin_ = 0;
  uint64_t out_written_ = 0;  // bytes of frames before out_begin_: tickets count these
  uint32_t out_sequence_ = 0;
  bool flush_scheduled_ = false, blocked_ = false;
  WaitList room_;
  std::optional<Piece> piece_;
  std::array<std::byte, kHeaderBytes> piece_header_ = {};
  size_t piece_written_ = 0;              // with the header
  std::vector<std::byte> piece_rescued_;  // its bytes, once their owner wanted them back

  std::vector<std::byte> in_;  // in_begin_ to in_end_: not parsed yet
  size_t in_begin_ = 0, in_end_ = 0;
  uint32_t in_sequence_ = 0;
  uint64_t in_frames_ = 0;           // whole ones
  size_t unheard_bytes_ = 0;         // since heard_ns_
  std::optional<FrameHeader> data_;  // a bulk frame whose payload is being received
  Sink sink_;
  size_t data_left_ = 0;
  uint32_t data_crc_ = 0;

  Transfers transfers_;
};

}  // namespace hadal::net
