#include "kv/rocks_env.h"

#include <algorithm>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include <rocksdb/env.h>

#include "base/check.h"

namespace hadal::kv {
namespace {

using rocksdb::EnvOptions;
using rocksdb::Slice;
using rocksdb::Status;

struct Files {
  io::FileSystem& files;
  bool dead = false;

  static Status status_of(const Error& error) {
    if (error.code == Code::kNotFound) return Status::NotFound(error.message);
    // Not Status::NoSpace(): RocksDB would start a thread that waits for space.
    return Status::IOError(error.message);
  }
  template <typename T>
  static Status status_of(const Result<T>& result) {
    return result ? Status::OK() : status_of(result.error());
  }
  /// An operation, if the process lives.
  template <typename Operation>
  Status run(Operation&& operation) const {
    if (dead) return Status::IOError("the process has ended");
    return status_of(operation());
  }
};

Slice read_into(char* scratch, size_t bytes) {
  return {scratch, bytes};
}

class SequentialFile final : public rocksdb::SequentialFile {
 public:
  SequentialFile(const Files& files, std::unique_ptr<io::File> file)
      : files_(files), file_(std::move(file)) {}

  Status Read(size_t n, Slice* result, char* scratch) override {
    size_t count = 0;
    Status status = files_.run([&]() -> Result<> {
      count = TRY(file_->read(at_, std::as_writable_bytes(std::span(scratch, n))));
      return {};
    });
    at_ += static_cast<int64_t>(count);
    *result = read_into(scratch, count);
    return status;
  }
  Status Skip(uint64_t n) override {
    at_ += static_cast<int64_t>(n);
    return Status::OK();
  }

 private:
  const Files& files_;
  std::unique_ptr<io::File> file_;
  int64_t at_ = 0;
};

class RandomAccessFile final : public rocksdb::RandomAccessFile {
 public:
  RandomAccessFile(const Files& files, std::unique_ptr<io::File> file)
      : files_(files), file_(std::move(file)) {}

  Status Read(uint64_t offset, size_t n, Slice* result, char* scratch) const override {
    size_t count = 0;
    Status status = files_.run([&]() -> Result<> {
      const auto to = std::as_writable_bytes(std::span(scratch, n));
      count = TRY(file_->read(static_cast<int64_t>(offset), to));
      return {};
    });
    *result = read_into(scratch, count);
    return status;
  }

 private:
  const Files& files_;
  std::unique_ptr<io::File> file_;
};

class WritableFile final : public rocksdb::WritableFile {
 public:
  WritableFile(const Files& files, std::unique_ptr<io::File> file)
      : files_(files), file_(std::move(file)) {}

  using rocksdb::WritableFile::Append;
  Status Append(const Slice& data) override {
    Status status = files_.run(
        [&] { return file_->write(size_, std::as_bytes(std::span(data.data(), data.size()))); });
    if (status.ok()) size_ += static_cast<int64_t>(data.size());
    return status;
  }
  Status Truncate(uint64_t size) override {
    size_ = static_cast<int64_t>(size);
    return files_.run([&] { return file_->resize(size_); });
  }
  Status Close() override { return Status::OK(); }
  Status Flush() override { return Status::OK(); }
  Status Sync() override {
    return files_.run([&] { return file_->sync(); });
  }
  uint64_t GetFileSize() override { return static_cast<uint64_t>(size_); }

 private:
  const Files& files_;
  std::unique_ptr<io::File> file_;
  int64_t size_ = 0;
};

class Directory final : public rocksdb::Directory {
 public:
  Directory(const Files& files, std::string path) : files_(files), path_(std::move(path)) {}
  Status Fsync() override {
    return files_.run([&] { return files_.files.sync_folder(path_); });
  }
  Status Close() override { return Status::OK(); }

 private:
  const Files& files_;
  std::string path_;
};

class NoLock final : public rocksdb::FileLock {};

/// RocksDB joins paths with too many slashes at times.
std::string tidy(const std::string& path) {
  std::string out;
  for (const char c : path) {
    if (c != '/' || (!out.empty() && out.back() != '/')) out.push_back(c);
  }
  if (!out.empty() && out.back() == '/') out.pop_back();
  return out;
}

}  // namespace

// NOLINTBEGIN(readability-identifier-naming): RocksDB's interface
class RocksEnv::Impl final : public rocksdb::Env {
 public:
  Impl(io::FileSystem& files, const Clock& clock) : files_{files}, clock_(clock) {}

  const char* Name() const override { return "hadal"; }

  Status NewSequentialFile(const std::string& path, std::unique_ptr<rocksdb::SequentialFile>* file,
                           const EnvOptions&) override {
    return open<SequentialFile>(path, io::Open::kExisting, file);
  }
  Status NewRandomAccessFile(const std::string& path,
                             std::unique_ptr<rocksdb::RandomAccessFile>* file,
                             const EnvOptions&) override {
    return open<RandomAccessFile>(path, io::Open::kExisting, file);
  }
  Status NewWritableFile(const std::string& path, std::unique_ptr<rocksdb::WritableFile>* file,
                         const EnvOptions&) override {
    Status status = open<WritableFile>(path, io::Open::kCreate, file);
    return status.ok() ? (*file)->Truncate(0) : status;
  }
  Status NewDirectory(const std::string& path,
                      std::unique_ptr<rocksdb::Directory>* folder) override {
    *folder = std::make_unique<Directory>(files_, tidy(path));
    return Status::OK();
  }

  Status FileExists(const std::string& path) override {
    return files_.run([&]() -> Result<> {
      const auto file = files_.files.open(tidy(path), io::Open::kExisting);
      if (file || file.error().code != Code::kNotFound) return {};
      return std::unexpected(file.error());
    });
  }
  Status GetChildren(const std::string& path, std::vector<std::string>* names) override {
    return files_.run([&]() -> Result<> {
      *names = TRY(files_.files.list(tidy(path)));
      return {};
    });
  }
  Status DeleteFile(const std::string& path) override {
    return files_.run([&] { return files_.files.remove(tidy(path)); });
  }
  Status DeleteDir(const std::string& path) override { return DeleteFile(path); }
  Status CreateDir(const std::string& path) override { return CreateDirIfMissing(path); }
  Status CreateDirIfMissing(const std::string& path) override {
    return files_.run([&] { return files_.files.make_folder(tidy(path)); });
  }
  Status GetFileSize(const std::string& path, uint64_t* bytes) override {
    return files_.run([&]() -> Result<> {
      const auto file = TRY(files_.files.open(tidy(path), io::Open::kExisting));
      *bytes = static_cast<uint64_t>(TRY(file->size()));
      return {};
    });
  }
  Status GetFileModificationTime(const std::string&, uint64_t* time) override {
    *time = 0;
    return Status::OK();
  }
  Status RenameFile(const std::string& from, const std::string& to) override {
    return files_.run([&] { return files_.files.rename(tidy(from), tidy(to)); });
  }
  Status LockFile(const std::string&, rocksdb::FileLock** lock) override {
    *lock = new NoLock;
    return Status::OK();
  }
  Status UnlockFile(rocksdb::FileLock* lock) override {
    delete lock;
    return Status::OK();
  }

  void Schedule(void (*function)(void*), void* argument, Priority priority, void* tag,
                void (*unschedule)(void*)) override {
    jobs_.push_back({function, argument, priority, tag, unschedule});
  }
  int UnSchedule(void* tag, Priority priority) override {
    int count = 0;
    for (size_t i = 0; i < jobs_.size();) {
      if (jobs_[i].tag != tag || jobs_[i].priority != priority) {
        ++i;
        continue;
      }
      const Job job = jobs_[i];
      jobs_.erase(jobs_.begin() + static_cast<std::ptrdiff_t>(i));
      if (job.unschedule != nullptr) job.unschedule(job.argument);
      ++count;
    }
    return count;
  }
  void StartThread(void (*)(void*), void*) override {
    CHECK(false, "RocksDB wants a thread, and the simulator has none");
  }
  void SetBackgroundThreads(int, Priority) override {}
  int GetBackgroundThreads(Priority) override { return 1; }
  void IncBackgroundThreadsIfNeeded(int, Priority) override {}

  uint64_t NowMicros() override { return static_cast<uint64_t>(clock_.now_ns()) / 1000; }
  void SleepForMicroseconds(int) override {}
  Status GetCurrentTime(int64_t* time) override {
    *time = clock_.wall_ns() / kSecond;
    return Status::OK();
  }
  std::string TimeToString(uint64_t time) override { return std::to_string(time); }
  std::string GenerateUniqueId() override { return "00000000-0000-0000-0000-000000000000"; }
  Status GetHostName(char* name, uint64_t size) override {
    std::fill_n(name, size, '\0');
    return Status::OK();
  }
  Status GetTestDirectory(std::string*) override { return Status::NotSupported(); }
  Status GetAbsolutePath(const std::string& path, std::string* absolute) override {
    *absolute = path;
    return Status::OK();
  }
  Status NewLogger(const std::string&, std::shared_ptr<rocksdb::Logger>*) override {
    return Status::NotSupported();
  }

  void run_jobs() {
    while (!jobs_.empty()) {
      const Job job = jobs_.front();
      jobs_.pop_front();
      job.function(job.argument);
    }
  }
  void die() { files_.dead = true; }

 private:
  struct Job {
    void (*function)(void*);
    void* argument;
    Priority priority;
    void* tag;
    void (*unschedule)(void*);
  };

  template <typename Opened, typename Interface>
  Status open(const std::string& path, io::Open how, std::unique_ptr<Interface>* file) {
    return files_.run([&]() -> Result<> {
      *file = std::make_unique<Opened>(files_, TRY(files_.files.open(tidy(path), how)));
      return {};
    });
  }

  Files files_;
  const Clock& clock_;
  std::deque<Job> jobs_;
};
// NOLINTEND(readability-identifier-naming)

RocksEnv::RocksEnv(io::FileSystem& files, const Clock& clock)
    : impl_(std::make_unique<Impl>(files, clock)) {}
RocksEnv::~RocksEnv() = default;

rocksdb::Env& RocksEnv::env() {
  return *impl_;
}
void RocksEnv::run_jobs() {
  impl_->run_jobs();
}
void RocksEnv::die() {
  impl_->die();
}

}  // namespace hadal::kv
