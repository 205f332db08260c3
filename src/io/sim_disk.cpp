#include "io/sim_disk.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/core.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/executor.h"
#include "io/file_checks.h"

namespace hadal::io {
namespace {

using Sector = std::array<std::byte, kSectorBytes>;

}  // namespace

/// Bytes by sector; a sector that is not there is a hole.
struct SimDisk::Content {
  std::map<int64_t, Sector> sectors;
  int64_t size = 0;

  void write(int64_t offset, std::span<const std::byte> from) {
    for (size_t done = 0; done < from.size();) {
      const int64_t at = offset + static_cast<int64_t>(done);
      const auto within = static_cast<size_t>(at % kSectorBytes);
      const size_t count = std::min(from.size() - done, kSectorBytes - within);
      std::memcpy(sectors[at / kSectorBytes].data() + within, from.data() + done, count);
      done += count;
    }
    size = std::max(size, offset + static_cast<int64_t>(from.size()));
  }

  void read(int64_t offset, std::span<std::byte> to) const {
    for (size_t done = 0; done < to.size();) {
      const int64_t at = offset + static_cast<int64_t>(done);
      const auto within = static_cast<size_t>(at % kSectorBytes);
      const size_t count = std::min(to.size() - done, kSectorBytes - within);
      const auto it = sectors.find(at / kSectorBytes);
      if (it == sectors.end()) {
        std::memset(to.data() + done, 0, count);
      } else {
        std::memcpy(to.data() + done, it->second.data() + within, count);
      }
      done += count;
    }
  }

  void zero(int64_t begin, int64_t end) {
    const int64_t first = (begin + kSectorBytes - 1) / kSectorBytes, last = end / kSectorBytes;
    sectors.erase(sectors.lower_bound(first), sectors.lower_bound(std::max(first, last)));
    const auto clear = [&](int64_t from, int64_t to) {
      const auto it = sectors.find(from / kSectorBytes);
      if (it == sectors.end() || from >= to) return;
      std::memset(it->second.data() + from % kSectorBytes, 0, to - from);
    };
    clear(begin, std::min(end, first * kSectorBytes));
    if (last >= first) clear(last * kSectorBytes, end);
  }

  void resize(int64_t bytes) {
    if (bytes < size) zero(bytes, std::max(bytes, size));
    size = bytes;
  }
};

struct SimDisk::Inode {
  uint64_t number;
  Content now, durable;
  std::vector<SimDiskChange> changes;  // not synced
  int64_t kept = 0;                    // changes before those

  static void apply(Content& content, const SimDiskChange& change) {
    switch (change.kind) {
      case Change::Kind::kWrite: return content.write(change.offset, change.data);
      case Change::Kind::kResize: return content.resize(change.bytes);
      case Change::Kind::kPunch: return content.zero(change.offset, change.offset + change.bytes);
      default: CHECK(false, "no change of a file's content");
    }
  }

  int64_t made() const { return kept + static_cast<int64_t>(changes.size()); }

  /// The first `until` of all changes that were ever made are durable.
  void keep(int64_t until) {
    if (until <= kept) return;
    const auto end = changes.begin() + (until - kept);
    for (auto it = changes.begin(); it != end; ++it) apply(durable, *it);
    changes.erase(changes.begin(), end);
    kept = until;
  }

  /// Of the changes, each sector is kept or not; sizes and holes whole or not.
  void lose(Rng& rng, bool ordered_appends) {
    // Sometimes nearly all of it is there, sometimes nearly nothing.
    const double share = rng.uniform();
    const int64_t end = ordered_appends ? durable.size : kNever;
    for (const SimDiskChange& change : changes) {
      if (change.kind != Change::Kind::kWrite) {
        if (rng.uniform() < share) apply(durable, change);
        continue;
      }
      const std::span<const std::byte> data(change.data);
      for (size_t done = 0; done < data.size();) {
        const int64_t at = change.offset + static_cast<int64_t>(done);
        const size_t count = std::min<size_t>(data.size() - done, kSectorBytes - at % kSectorBytes);
        if (at >= end || rng.uniform() < share) durable.write(at, data.subspan(done, count));
        done += count;
      }
    }
    if (durable.size > end) {
      durable.resize(end + static_cast<int64_t>(rng.below(durable.size - end + 1)));
    }
    kept = made();
    changes.clear();
    now = durable;
  }
};

class SimDisk::OpenFile final : public File {
 public:
  OpenFile(SimDisk& disk, std::string path, std::shared_ptr<Inode> inode, Access access)
      : disk_(disk), path_(std::move(path)), inode_(std::move(inode)), access_(access) {}

  Result<size_t> read(int64_t offset, std::span<std::byte> to) override {
    TRY(check_access(offset, to));
    disk_.wait(disk_.options.latency_ns_max);
    TRY(disk_.fault(disk_.options.read_error_rate, "read", path_));
    const int64_t left = std::max<int64_t>(inode_->now.size - offset, 0);
    to = to.first(std::min<size_t>(to.size(), left));
    inode_->now.read(offset, to);
    return to.size();
  }

  Result<> write(int64_t offset, std::span<const std::byte> from) override {
    TRY(check_access(offset, from));
    if (from.empty()) return {};
    const int64_t growth = offset + static_cast<int64_t>(from.size()) - inode_->now.size;
    if (growth > 0 && disk_.used_bytes() + growth > disk_.options.capacity_bytes) {
      return fail(Code::kNoSpace, fmt::format("{}: the disk is full", path_));
    }
    const Result<> failed = disk_.fault(disk_.options.write_error_rate, "write", path_);
    // A write that fails may have happened.
    if (failed || disk_.rng_.below(2) == 0) {
      change({.kind = Change::Kind::kWrite, .offset = offset, .data = {from.begin(), from.end()}});
    }
    disk_.wait(disk_.options.latency_ns_max);
    return failed;
  }

  Result<> sync() override {
    // What is written while it runs is not its.
    const int64_t until = inode_->made();
    disk_.wait(disk_.options.sync_ns_max);
    TRY(disk_.fault(disk_.options.write_error_rate, "sync", path_));
    if (disk_.options.skip_syncs) return {};
    inode_->keep(until);
    disk_.record({.kind = Change::Kind::kSync, .file = inode_->number, .bytes = until});
    return {};
  }

  Result<int64_t> size() override { return inode_->now.size; }

  Result<> resize(int64_t bytes) override {
    TRY(check_range(path_, 0, bytes));
    change({.kind = Change::Kind::kResize, .bytes = bytes});
    disk_.wait(disk_.options.latency_ns_max);
    return {};
  }

  Result<> punch_hole(int64_t offset, int64_t bytes) override {
    TRY(check_range(path_, offset, bytes));
    change({.kind = Change::Kind::kPunch, .offset = offset, .bytes = bytes});
    disk_.wait(disk_.options.latency_ns_max);
    return {};
  }

 private:
  Result<> check_access(int64_t offset, Bytes memory) const {
    TRY(check_range(path_, offset, static_cast<int64_t>(memory.size())));
    if (access_ == Access::kDirect) TRY(check_direct(path_, offset, memory));
    return {};
  }

  void change(SimDiskChange change) {
    change.file = inode_->number;
    Inode::apply(inode_->now, change);
    disk_.record(change);
    inode_->changes.push_back(std::move(change));
  }

  SimDisk& disk_;
  const std::string path_;
  const std::shared_ptr<Inode> inode_;
  const Access access_;
};

SimDisk::SimDisk(const SimDiskOptions& given, Rng rng) : options(given), rng_(rng) {}
SimDisk::~SimDisk() = default;
SimDisk::SimDisk(SimDisk&&) noexcept = default;

void SimDisk::wait(int64_t ns_max) {
  if (ns_max > 0 && in_fiber()) sleep_fiber(static_cast<int64_t>(rng_.below(ns_max)));
}

Result<> SimDisk::fault(double rate, std::string_view what, std::string_view path) {
  if (rate == 0 || rng_.uniform() >= rate) return {};
  return fail(Code::kIo, fmt::format("{}: {}: the device fails", path, what));
}

void SimDisk::record(Change change) {
  if (options.record) recording_.push_back(std::move(change));
}

Result<> SimDisk::check_parent(std::string_view path) const {
  TRY(check_path(path));
  const std::string_view parent = parent_of(path);
  if (parent.empty()) return {};
  const auto it = names_.find(parent);
  if (it != names_.end() && it->second == nullptr) return {};
  return fail(Code::kNotFound, fmt::format("{}: there is no folder {}", path, parent));
}

void SimDisk::apply_name(Names& names, const Change& change, const std::shared_ptr<Inode>& inode) {
  switch (change.kind) {
    case Change::Kind::kCreate:
    case Change::Kind::kMakeFolder: names[change.path] = inode; return;
    case Change::Kind::kRemove: names.erase(change.path); return;
    case Change::Kind::kRename:
      names.erase(change.path);
      names[change.to] = inode;
      return;
    default: CHECK(false, "no change of names");
  }
}

void SimDisk::change_name(Change change) {
  std::shared_ptr<Inode> inode;
  if (change.kind == Change::Kind::kCreate) {
    inode = std::make_shared<Inode>();
    inode->number = files_++;
  }
  if (change.kind == Change::Kind::kRename) inode = names_.find(change.path)->second;
  apply_name(names_, change, inode);
  record(change);
  name_changes_.push_back({std::move(change), std::move(inode)});
}

Result<std::unique_ptr<File>> SimDisk::open(std::string_view path, Open how, Access access) {
  TRY(check_parent(path));
  auto it = names_.find(path);
  if (it == names_.end()) {
    if (how == Open::kExisting) return fail(Code::kNotFound, fmt::format("{}: not there", path));
    change_name({.kind = Change::Kind::kCreate, .path = std::string(path)});
    it = names_.find(path);
  } else if (how == Open::kCreateNew) {
    return fail(Code::kAlreadyExists, fmt::format("{}: is there already", path));
  } else if (it->second == nullptr) {
    return fail(Code::kInvalidArgument, fmt::format("{}: is a folder", path));
  }
  return std::make_unique<OpenFile>(*this, std::string(path), it->second, access);
}

Result<> SimDisk::remove(std::string_view path) {
  TRY(check_parent(path));
  const auto it = names_.find(path);
  if (it == names_.end()) return fail(Code::kNotFound, fmt::format("{}: not there", path));
  if (it->second == nullptr && !TRY(list(path)).empty()) {
    return fail(Code::kInvalidArgument, fmt::format("{}: the folder is not empty", path));
  }
  change_name({.kind = Change::Kind::kRemove, .path = std::string(path)});
  return {};
}

Result<> SimDisk::rename(std::string_view from, std::string_view to) {
  TRY(check_parent(from));
  TRY(check_parent(to));
  const auto is_folder = [&](std::string_view path) {
    const auto it = names_.find(path);
    return it != names_.end() && it->second == nullptr;
  };
  if (!names_.contains(from)) return fail(Code::kNotFound, fmt::format("{}: not there", from));
  if (is_folder(from) || is_folder(to)) {
    return fail(Code::kInvalidArgument, fmt::format("{} or {} is a folder", from, to));
  }
  if (from == to) return {};
  change_name({.kind = Change::Kind::kRename, .path = std::string(from), .to = std::string(to)});
  return {};
}

Result<> SimDisk::make_folder(std::string_view path) {
  TRY(check_parent(path));
  const auto it = names_.find(path);
  if (it == names_.end()) {
    change_name({.kind = Change::Kind::kMakeFolder, .path = std::string(path)});
    return {};
  }
  if (it->second == nullptr) return {};
  return fail(Code::kAlreadyExists, fmt::format("{}: is a file", path));
}

Result<> SimDisk::sync_folder(std::string_view path) {
  if (!path.empty()) TRY(check_parent(std::string(path) + "/x"));
  // Names become durable in order, as a journal makes them: all up to the folder's last one.
  int64_t until = 0;
  for (size_t i = 0; i < name_changes_.size(); ++i) {
    const Change& change = name_changes_[i].change;
    const bool here = parent_of(change.path) == path ||
                      (change.kind == Change::Kind::kRename && parent_of(change.to) == path);
    if (here) until = kept_names_ + static_cast<int64_t>(i) + 1;
  }
  wait(options.sync_ns_max);
  TRY(fault(options.write_error_rate, "sync", path));
  keep_names(until);
  record({.kind = Change::Kind::kSyncFolder, .path = std::string(path), .bytes = until});
  return {};
}

void SimDisk::keep_names(int64_t until) {
  if (until <= kept_names_) return;
  const auto end = name_changes_.begin() + (until - kept_names_);
  for (auto it = name_changes_.begin(); it != end; ++it) {
    apply_name(durable_names_, it->change, it->inode);
  }
  name_changes_.erase(name_changes_.begin(), end);
  kept_names_ = until;
}

Result<std::vector<std::string>> SimDisk::list(std::string_view path) {
  if (!path.empty()) TRY(check_parent(std::string(path) + "/x"));
  std::vector<std::string> found;
  for (const auto& [name, inode] : names_) {
    if (parent_of(name) == path) found.push_back(name.substr(path.empty() ? 0 : path.size() + 1));
  }
  return found;
}

int64_t SimDisk::used_bytes() const {
  int64_t used = 0;
  for (const auto& [name, inode] : names_) {
    if (inode) used += static_cast<int64_t>(inode->now.sectors.size()) * kSectorBytes;
  }
  return used;
}

Result<Space> SimDisk::space() {
  return Space{options.capacity_bytes, std::max<int64_t>(options.capacity_bytes - used_bytes(), 0)};
}

Result<std::unique_ptr<FileLock>> SimDisk::lock(std::string_view path) {
  struct Held final : FileLock {
    Held(std::shared_ptr<std::set<std::string>> in, std::string path)
        : locked(std::move(in)), name(std::move(path)) {}
    ~Held() override { locked->erase(name); }
    std::shared_ptr<std::set<std::string>> locked;
    std::string name;
  };
  TRY(open(path, Open::kCreate));
  if (!locked_->insert(std::string(path)).second)
    return fail(Code::kUnavailable, fmt::format("{}: another process has it locked", path));
  return std::make_unique<Held>(locked_, std::string(path));
}

void SimDisk::lose_power() {
  const auto all = static_cast<int64_t>(name_changes_.size());
  const int64_t made = kept_names_ + all;
  keep_names(kept_names_ + static_cast<int64_t>(rng_.below(all + 1)));
  name_changes_.clear();
  kept_names_ = made;
  for (const auto& [name, inode] : durable_names_) {
    if (inode) inode->lose(rng_, options.ordered_appends);
  }
  names_ = durable_names_;
}

bool SimDisk::rot() {
  std::vector<Inode*> inodes;
  for (const auto& [name, inode] : names_) {
    if (inode && !inode->durable.sectors.empty()) inodes.push_back(inode.get());
  }
  if (inodes.empty()) return false;
  Inode& inode = *inodes[rng_.below(inodes.size())];
  auto it = inode.durable.sectors.begin();
  std::advance(it, static_cast<std::ptrdiff_t>(rng_.below(inode.durable.sectors.size())));
  const size_t at = rng_.below(kSectorBytes);
  const auto bit = static_cast<std::byte>(1 << rng_.below(8));
  it->second[at] ^= bit;
  if (const auto now = inode.now.sectors.find(it->first); now != inode.now.sectors.end()) {
    now->second[at] ^= bit;
  }
  return true;
}

SimDisk SimDisk::replay(std::span<const SimDiskChange> changes, size_t count, Rng rng,
                        const SimDiskOptions& options) {
  SimDisk disk(options, rng);
  std::vector<std::shared_ptr<Inode>> inodes;
  for (const SimDiskChange& change : changes.first(count)) {
    switch (change.kind) {
      case Change::Kind::kCreate:
        disk.change_name(change);
        inodes.push_back(disk.name_changes_.back().inode);
        break;
      case Change::Kind::kMakeFolder:
      case Change::Kind::kRemove:
      case Change::Kind::kRename: disk.change_name(change); break;
      case Change::Kind::kSync: inodes[change.file]->keep(change.bytes); break;
      case Change::Kind::kSyncFolder: disk.keep_names(change.bytes); break;
      default:
        Inode::apply(inodes[change.file]->now, change);
        inodes[change.file]->changes.push_back(change);
    }
  }
  disk.lose_power();
  return disk;
}

}  // namespace hadal::io
