#include "net/bulk.h"

#include <algorithm>
#include <utility>

#include <fmt/core.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "net/codec.h"

namespace hadal::net {
namespace {

struct TransferRequest {
  Hash128 key = {};
  uint64_t offset = 0, bytes = 0;

  static void fields(auto& self, auto& visit) {
    visit(self.key);
    visit(self.offset);
    visit(self.bytes);
  }
};

struct TransferEnd {
  bool done = false;
  Code code = Code::kInternal;
  std::string text = {};

  static void fields(auto& self, auto& visit) {
    visit(self.done);
    visit(self.code, Code::kInternal);
    visit(self.text, at_most(kErrorTextBytesMax));
  }
};

Error denied() {
  return {Code::kPermissionDenied,
          "the handle is not known to the peer, or not for this range and access"};
}

}  // namespace

void Region::revoke() {
  revoked = true;
  for (Borrower* borrower : std::exchange(borrowers, {})) borrower->give_back();
}

std::shared_ptr<Region> RegionTable::find(const Hash128& key, Access wanted, uint64_t offset,
                                          uint64_t bytes) const {
  const auto it = regions_.find(key);
  if (it == regions_.end() || !it->second->allows(wanted)) return nullptr;
  const uint64_t size = it->second->memory.size();
  if (offset > size || bytes > size - offset) return nullptr;
  return it->second;
}

Exposure::Exposure(std::shared_ptr<RegionTable> table, std::shared_ptr<Region> region,
                   BulkHandle handle)
    : table_(std::move(table)), region_(std::move(region)), handle_(handle) {}

Exposure::Exposure(Exposure&&) noexcept = default;

Exposure::~Exposure() {
  if (region_ == nullptr) return;  // moved from
  table_->remove(handle_.key);
  region_->revoke();
}

/// A transfer that this side asked for.
struct Transfers::Mine {
  FrameKind kind;
  std::shared_ptr<Region> region;
  std::byte* to;
  uint64_t left;
  uint32_t crc = 0;
  FiberEvent end = {};
  Result<> result = {};

  void landed(uint64_t bytes, uint32_t piece_crc) {
    crc = left == region->memory.size() ? piece_crc : crc32c::combine(crc, piece_crc, bytes);
    to += bytes;
    left -= bytes;
  }
};

Result<uint32_t> Transfers::run(FrameKind kind, const BulkHandle& handle, uint64_t offset,
                                std::span<std::byte> memory, Deadline deadline) {
  if (offset > handle.bytes || memory.size() > handle.bytes - offset) {
    return fail(Code::kPermissionDenied,
                fmt::format("bytes {} to {} are outside of a handle for {}", offset,
                            offset + memory.size(), handle.bytes));
  }
  if (lost_ != nullptr) return std::unexpected(*lost_);
  if (memory.empty()) return 0;
  if (!slots_.acquire(1, deadline)) {
    return fail(Code::kTimeout, "the deadline passed before a bulk transfer had its turn");
  }
  auto region = std::make_shared<Region>(Region{memory, Access::kReadWrite});
  Mine mine{kind, region, memory.data(), memory.size()};
  // However the fiber leaves, nobody touches its memory any more.
  struct Entry {
    Transfers& transfers;
    Mine& mine;
    uint64_t id = 0;
    ~Entry() {
      mine.region->revoke();
      if (transfers.mine_.erase(id) != 0 && transfers.lost_ == nullptr && !mine.end.is_set()) {
        transfers.drop_outgoing(FrameKind::kPushed, id);
        transfers.host_.send(FrameKind::kStop, id, {});
      }
      transfers.slots_.release(1);
    }
  } entry{*this, mine};
  if (lost_ != nullptr) return std::unexpected(*lost_);

  entry.id = ++last_id_;
  mine_.emplace(entry.id, &mine);
  std::vector<std::byte> request;
  CHECK(encode(TransferRequest{handle.key, offset, memory.size()}, request, "transfer"));
  host_.send(kind, entry.id, request);
  if (kind == FrameKind::kPush) {
    outgoing_.push_back({FrameKind::kPushed, entry.id, region, memory});
    host_.piece_ready();
  }
  if (!mine.end.wait(deadline)) {
    return fail(Code::kTimeout,
                fmt::format("the deadline passed in a bulk transfer of {} bytes", memory.size()));
  }
  if (!mine.result) return std::unexpected(mine.result.error());
  return mine.crc;
}

Result<> Transfers::received(const FrameHeader& header, Bytes payload) {
  switch (header.kind) {
    case FrameKind::kFinished: return finished(header.id, payload);
    case FrameKind::kStop:
      drop_outgoing(FrameKind::kPulled, header.id);
      incoming_.erase(header.id);
      return {};
    default: return requested(header, payload);
  }
}

Result<> Transfers::requested(const FrameHeader& header, Bytes payload) {
  TransferRequest request;
  TRY(decode(payload, request, "request for a bulk transfer"));
  const size_t served =
      incoming_.size() + std::ranges::count(outgoing_, FrameKind::kPulled, &Outgoing::kind);
  if (header.id <= last_peer_id_ || request.bytes == 0 || served >= kTransfersMax) {
    return fail(Code::kCorrupt,
                fmt::format("bulk transfer {} of {} bytes follows {} while {} are under way; ids "
                            "grow, no transfer is empty, and there are {} at a time",
                            header.id, request.bytes, last_peer_id_, served, kTransfersMax));
  }
  last_peer_id_ = header.id;
  const bool pull = header.kind == FrameKind::kPull;
  const std::shared_ptr<Region> region = regions_.find(
      request.key, pull ? Access::kRead : Access::kWrite, request.offset, request.bytes);
  if (region == nullptr) {
    const Error error = denied();
    finish(header.id, &error);
    return {};
  }
  const std::span<std::byte> range = region->memory.subspan(request.offset, request.bytes);
  if (pull) {
    outgoing_.push_back({FrameKind::kPulled, header.id, region, range});
    host_.piece_ready();
  } else {
    incoming_.emplace(header.id, Incoming{region, range.data(), range.size()});
  }
  return {};
}

void Transfers::finish(uint64_t id, const Error* error) {
  TransferEnd end{.done = error == nullptr};
  if (error != nullptr) {
    end.code = error->code;
    end.text = error->message.substr(0, kErrorTextBytesMax);
  }
  std::vector<std::byte> payload;
  CHECK(encode(end, payload, "end of a transfer"));
  host_.send(FrameKind::kFinished, id, payload);
}

Result<> Transfers::finished(uint64_t id, Bytes payload) {
  TransferEnd end;
  TRY(decode(payload, end, "end of a bulk transfer"));
  const auto it = mine_.find(id);
  if (it == mine_.end()) return {};  // it had stopped waiting
  Mine& mine = *it->second;
  if (end.done && (mine.kind == FrameKind::kPull || mine.left > 0)) {
    return fail(Code::kCorrupt, fmt::format("bulk transfer {} ends before its last byte", id));
  }
  if (!end.done) {
    drop_outgoing(FrameKind::kPushed, id);
    mine.result = fail(end.code, std::move(end.text));
  }
  mine.end.set();
  return {};
}

Result<Sink> Transfers::sink(const FrameHeader& header) {
  Sink sink;
  uint64_t left = 0;
  if (header.kind == FrameKind::kPulled) {
    const auto it = mine_.find(header.id);
    if (it == mine_.end() || it->second->kind != FrameKind::kPull || it->second->end.is_set()) {
      return sink;
    }
    sink = {it->second->region, it->second->to};
    left = it->second->left;
  } else {
    const auto it = incoming_.find(header.id);
    if (it == incoming_.end()) return sink;
    sink = {it->second.region, it->second.to};
    left = it->second.left;
  }
  if (header.bytes > left) {
    return fail(Code::kCorrupt, fmt::format("bulk transfer {} gets {} bytes where {} are left",
                                            header.id, header.bytes, left));
  }
  return sink;
}

void Transfers::landed(const FrameHeader& header, bool good) {
  const Error spoiled{Code::kCorrupt,
                      "bytes of a bulk transfer changed while they were sent, or on the way"};
  if (header.kind == FrameKind::kPulled) {
    const auto it = mine_.find(header.id);
    if (it == mine_.end()) return;
    Mine& mine = *it->second;
    mine.landed(header.bytes, header.crc);
    if (!good) {
      mine.result = std::unexpected(spoiled);
      host_.send(FrameKind::kStop, header.id, {});
    }
    if (!good || mine.left == 0) mine.end.set();
    return;
  }
  const auto it = incoming_.find(header.id);
  if (it == incoming_.end()) return;
  Incoming& incoming = it->second;
  incoming.to += header.bytes;
  incoming.left -= header.bytes;
  const bool revoked = incoming.region->revoked;
  if (!revoked && good && incoming.left > 0) return;
  incoming_.erase(it);
  const Error error = revoked ? denied() : spoiled;
  finish(header.id, revoked || !good ? &error : nullptr);
}

bool Transfers::next_piece(Piece& piece) {
  while (!outgoing_.empty()) {
    Outgoing next = std::move(outgoing_.front());
    outgoing_.pop_front();
    if (next.region->revoked) {
      const Error error = denied();
      if (next.kind == FrameKind::kPulled) finish(next.id, &error);
      continue;
    }
    const Bytes bytes = next.left.first(std::min(next.left.size(), kPieceBytesMax));
    piece = {next.kind, next.id, next.region, bytes, crc32c::value(bytes)};
    if (const auto it = mine_.find(next.id); next.kind == FrameKind::kPushed && it != mine_.end()) {
      it->second->landed(bytes.size(), piece.crc);
    }
    next.left = next.left.subspan(bytes.size());
    if (!next.left.empty()) outgoing_.push_back(std::move(next));
    return true;
  }
  return false;
}

void Transfers::lost(const Error& error) {
  lost_ = &error;
  for (const auto& [id, mine] : mine_) {
    if (mine->end.is_set()) continue;
    mine->result = std::unexpected(error);
    mine->end.set();
  }
  incoming_.clear();
  outgoing_.clear();
}

void Transfers::drop_outgoing(FrameKind kind, uint64_t id) {
  std::erase_if(outgoing_, [&](const Outgoing& o) { return o.kind == kind && o.id == id; });
}

}  // namespace hadal::net
