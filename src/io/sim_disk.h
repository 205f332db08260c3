// A disk of the simulator: a file system in memory that loses what a real one may lose.
//
// It outlives the processes that use it. lose_power() does what the contract of file_system.h
// allows: of what was not synced, each sector survives or not, as the random numbers say; a sector
// is never half written. Faults that a correct server must survive are switched on by options while
// the simulation runs.
//
// Every change is recorded, if wanted, so that a crash can be tried after each of them:
//
//   SimDisk disk({.record = true}, rng);
//   ... a session of whatever is tested ...
//   for (size_t n = 0; n <= disk.recording().size(); ++n) {
//     SimDisk crashed = SimDisk::replay(disk.recording(), n, rng);     // n changes, then no power
//     ... it must open, and everything acknowledged before change n must be there ...
//   }
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "io/file_system.h"

namespace hadal::io {

struct SimDiskOptions {
  int64_t capacity_bytes = int64_t{1} << 40;
  int64_t latency_ns_max = 0;  // of an operation in a fiber; 0: it does not wait
  int64_t sync_ns_max = 0;
  double read_error_rate = 0, write_error_rate = 0;  // kIo; a write may have happened
  bool record = false;
  /// What a file grew by is kept up to some byte, without gaps, as file systems do it that make a
  /// size durable after its data (ext4 with data=ordered, XFS).
  bool ordered_appends = false;
  bool skip_syncs = false;  // of files: they return and make nothing durable, a broken disk
};

/// A change of the disk, or a sync.
struct SimDiskChange {
  enum class Kind : uint8_t {
    kCreate,
    kMakeFolder,
    kRemove,
    kRename,
    kWrite,
    kResize,
    kPunch,
    kSync,
    kSyncFolder
  };
  Kind kind = Kind::kSync;
  std::string path = {};  // empty from kWrite to kSync, where `file` says which
  std::string to = {};
  uint64_t file = 0;  // number of the file, in the order of their creation
  int64_t offset = 0;
  int64_t bytes = 0;  // of a sync: how many changes, of this file or of names, it made durable
  std::vector<std::byte> data = {};
};

class SimDisk final : public FileSystem {
 public:
  SimDisk(const SimDiskOptions& given, Rng rng);
  ~SimDisk() override;
  SimDisk(SimDisk&&) noexcept;

  /// May be changed while it is used.
  SimDiskOptions options;

  /// Everything that was not synced is kept or lost, by sectors and names. Files that are open
  /// must not be used any more: their processes are dead.
  void lose_power();

  /// Flips one bit of a file, for good. False: there is nothing to flip.
  bool rot();

  const std::vector<SimDiskChange>& recording() const { return recording_; }
  /// A new disk on which the first `count` changes were made before the power went.
  static SimDisk replay(std::span<const SimDiskChange> changes, size_t count, Rng rng,
                        const SimDiskOptions& options = {});

  using FileSystem::open;
  Result<std::unique_ptr<File>> open(std::string_view path, Open how, Access access) override;
  Result<> remove(std::string_view path) override;
  Result<> rename(std::string_view from, std::string_view to) override;
  Result<> make_folder(std::string_view path) override;
  Result<> sync_folder(std::string_view path) override;
  Result<std::vector<std::string>> list(std::string_view path) override;
  Result<Space> space() override;
  Result<std::unique_ptr<FileLock>> lock(std::string_view path) override;

 private:
  using Change = SimDiskChange;
  class OpenFile;
  struct Content;
  struct Inode;
  /// What a path names; null: a folder.
  using Names = std::map<std::string, std::shared_ptr<Inode>, std::less<>>;

  Result<> check_parent(std::string_view path) const;
  Result<> fault(double rate, std::string_view what, std::string_view path);
  void wait(int64_t ns_max);
  void record(Change change);
  void change_name(Change change);
  void keep_names(int64_t until);
  static void apply_name(Names& names, const Change& change, const std::shared_ptr<Inode>& inode);
  int64_t used_bytes() const;

  Rng rng_;
  Names names_;  // now
  Names durable_names_;
  struct NameChange {
    Change change;
    std::shared_ptr<Inode> inode;
  };
  std::vector<NameChange> name_changes_;  // not synced, in order
  int64_t kept_names_ = 0;                // changes before those
  uint64_t files_ = 0;
  std::vector<SimDiskChange> recording_;
  std::shared_ptr<std::set<std::string>> locked_ = std::make_shared<std::set<std::string>>();
};

}  // namespace hadal::io
