#include "io/native_files.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <dirent.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/check.h"
#include "io/file_checks.h"

namespace hadal::io {
namespace {

constexpr int kThreads = 2;                         // for calls that have no asynchronous form
constexpr int kDataThreads = 16;                    // where threads do all
constexpr int kRetriesMax = 1000;                   // of an operation that the system interrupts
constexpr size_t kPieceBytesMax = size_t{1} << 30;  // the system moves less than 2 GiB at once

Error error_of(int errno_value, std::string_view path, std::string_view what) {
  Error error = os_error(errno_value, fmt::format("{}: {}", path, what));
  switch (errno_value) {
    case EISDIR:
    case ENOTEMPTY:
    case ELOOP:
    case EFBIG:
    case EINVAL: error.code = Code::kInvalidArgument; break;
    case ENOTDIR: error.code = Code::kNotFound; break;
    default: break;
  }
  return error;
}

std::unexpected<Error> failed(std::string_view path, std::string_view what) {
  return std::unexpected(error_of(errno, path, what));
}

class Permit {
 public:
  explicit Permit(FiberSemaphore& free) : free_(free) { free.acquire(1); }
  ~Permit() { free_.release(1); }
  Permit(const Permit&) = delete;
  Permit& operator=(const Permit&) = delete;

 private:
  FiberSemaphore& free_;
};

/// A folder below `root`, name by name; "" is `root` itself.
Result<Descriptor> open_folder(int root, std::string_view path) {
  constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  Descriptor folder(::openat(root, ".", kFlags));
  for (size_t begin = 0; folder.get() >= 0 && begin < path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string name(path.substr(begin, end - begin));
    folder = Descriptor(::openat(folder.get(), name.c_str(), kFlags));
    begin = end + 1;
  }
  if (folder.get() < 0) return failed(path, "open folder");
  return folder;
}

/// Where a path's last name stands.
struct Place {
  Descriptor folder;
  std::string name;
};

Result<Place> find(int root, std::string_view path) {
  TRY(check_path(path));
  Descriptor folder = TRY(in(path, open_folder(root, parent_of(path))));
  const size_t slash = path.rfind('/');
  return Place{std::move(folder), std::string(path.substr(slash + 1))};
}

/// Whether it is a file; else it is something that operations on files refuse.
Result<> check_file(const struct stat& status, std::string_view path) {
  if (S_ISREG(status.st_mode)) return {};
  return fail(Code::kInvalidArgument, fmt::format("{}: is {}", path,
                                                  S_ISDIR(status.st_mode)   ? "a folder"
                                                  : S_ISLNK(status.st_mode) ? "a symbolic link"
                                                                            : "no file"));
}

Result<Descriptor> open_file(int root, std::string_view path, Open how, Access access) {
  const Place place = TRY(find(root, path));
  const auto open_with = [&](int flags) {
    return Descriptor(::openat(place.folder.get(), place.name.c_str(),
                               O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | flags, 0644));
  };
  // In two steps, to know whether the file is ours.
  Descriptor file = how == Open::kCreateNew ? Descriptor() : open_with(0);
  bool made = false;
  if (file.get() < 0 && (how == Open::kCreateNew || (how == Open::kCreate && errno == ENOENT))) {
    file = open_with(O_CREAT | O_EXCL);
    made = file.get() >= 0;
    if (!made && errno == EEXIST && how == Open::kCreate)
      file = open_with(0);  // another was faster
  }
  if (file.get() < 0) return failed(path, "open");
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) return failed(path, "stat");
  TRY(check_file(status, path));
  if (access == Access::kBuffered || ::fcntl(file.get(), F_SETFL, O_DIRECT) == 0) return file;
  const int refused = errno;
  if (made) ::unlinkat(place.folder.get(), place.name.c_str(), 0);
  return fail(Code::kUnsupported, fmt::format("{}: the file system refuses direct access: {}", path,
                                              std::strerror(refused)));
}

Result<> remove_name(int root, std::string_view path) {
  const Place place = TRY(find(root, path));
  const auto remove = [&](int flags) {
    return ::unlinkat(place.folder.get(), place.name.c_str(), flags) == 0;
  };
  if (remove(0) || (errno == EISDIR && remove(AT_REMOVEDIR))) return {};
  return failed(path, "remove");
}

Result<> rename_file(int root, std::string_view from, std::string_view to) {
  const Place old_place = TRY(find(root, from)), new_place = TRY(find(root, to));
  struct stat status = {};
  if (::fstatat(old_place.folder.get(), old_place.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
    return failed(from, "rename");
  TRY(check_file(status, from));
  if (::renameat(old_place.folder.get(), old_place.name.c_str(), new_place.folder.get(),
                 new_place.name.c_str()) == 0) {
    return {};
  }
  return failed(fmt::format("{} to {}", from, to), "rename");
}

Result<> make_folder_at(int root, std::string_view path) {
  const Place place = TRY(find(root, path));
  if (::mkdirat(place.folder.get(), place.name.c_str(), 0755) == 0) return {};
  const int made = errno;
  struct stat status = {};
  if (made == EEXIST &&
      ::fstatat(place.folder.get(), place.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
      S_ISDIR(status.st_mode)) {
    return {};
  }
  return std::unexpected(error_of(made, path, "make folder"));
}

Result<std::vector<std::string>> list_folder(int root, std::string_view path) {
  Descriptor folder = TRY(open_folder(root, path));
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(folder.get()), ::closedir);
  if (entries == nullptr) return failed(path, "list");
  folder.release();  // closedir() closes it
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* const entry = ::readdir(entries.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) return failed(path, "list");
  std::ranges::sort(names);
  return names;
}

}  // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) ::close(fd_);
}

class NativeFiles::OpenFile final : public File {
 public:
  OpenFile(NativeFiles& files, std::string_view path, Descriptor file, Access access)
      : files_(files), path_(path), fd_(file.release()), access_(access) {}

  /// The last descriptor of a file that was removed gives its space back, which takes time.
  ~OpenFile() override {
    files_.threads_.start([fd = fd_] { ::close(fd); });
  }

  Result<size_t> read(int64_t offset, std::span<std::byte> to) override {
    TRY(check_access(offset, to));
    return move(Way::kRead, to.size(), [&](size_t at, size_t bytes) {
      return call(&Ring::pread, ::pread, to.subspan(at, bytes), offset + static_cast<int64_t>(at));
    });
  }

  Result<> write(int64_t offset, std::span<const std::byte> from) override {
    TRY(check_access(offset, from));
    const size_t done = TRY(move(Way::kWrite, from.size(), [&](size_t at, size_t bytes) {
      return call(&Ring::pwrite, ::pwrite, from.subspan(at, bytes),
                  offset + static_cast<int64_t>(at));
    }));
    if (done == from.size()) return {};
    return fail(Code::kIo,
                fmt::format("{}: write: the system took {} bytes of {}", path_, done, from.size()));
  }

  Result<> sync() override {
    return once("sync", [this] {
      if (files_.ring_) return files_.ring_->fdatasync(fd_);
      return blocking([this] { return ::fdatasync(fd_); });
    });
  }

  Result<int64_t> size() override {
    // Does not wait for the device: the open file's attributes are in memory.
    struct stat status = {};
    if (::fstat(fd_, &status) != 0) return failed(path_, "size");
    return int64_t{status.st_size};
  }

  Result<> resize(int64_t bytes) override {
    TRY(check_range(path_, 0, bytes));
    return once("resize", [&] { return blocking([&] { return ::ftruncate(fd_, bytes); }); });
  }

  Result<> punch_hole(int64_t offset, int64_t bytes) override {
    TRY(check_range(path_, offset, bytes));
    // What lies behind the end is none of it: it may be more than the system's files can have.
    const int64_t count = std::min(bytes, TRY(size()) - offset);
    if (count <= 0) return {};
    constexpr int kMode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    return once("punch a hole", [&] {
      if (files_.ring_) return files_.ring_->fallocate(fd_, kMode, offset, count);
      return blocking([&] { return ::fallocate(fd_, kMode, offset, count); });
    });
  }

 private:
  Result<> check_access(int64_t offset, std::span<const std::byte> memory) const {
    TRY(check_range(path_, offset, static_cast<int64_t>(memory.size())));
    if (access_ == Access::kDirect) TRY(check_direct(path_, offset, memory));
    return {};
  }

  /// A system call in a thread; a negative value is -errno.
  template <typename Function>
  int64_t blocking(const Function& function) {
    return files_.threads_.run([&]() -> int64_t {
      const auto result = static_cast<int64_t>(function());
      return result < 0 ? -int64_t{errno} : result;
    });
  }

  /// pread or pwrite by the engine.
  template <typename OfRing, typename OfSystem, typename Memory>
  int64_t call(OfRing of_ring, OfSystem of_system, Memory memory, int64_t offset) {
    if (files_.ring_) return (files_.ring_.get()->*of_ring)(fd_, memory, offset);
    return blocking([&] { return of_system(fd_, memory.data(), memory.size(), offset); });
  }

  enum class Way : uint8_t { kRead, kWrite };

  /// Goes on until everything is moved, or the file ends. `part(at, bytes)` moves some bytes.
  template <typename Part>
  Result<size_t> move(Way way, size_t bytes, const Part& part) {
    const Permit permit(files_.free_);
    int retries = 0;
    size_t done = 0;
    while (done < bytes) {
      const int64_t moved = part(done, std::min(bytes - done, kPieceBytesMax));
      if (moved == 0) break;
      if (moved < 0 && !again(moved, retries))
        return std::unexpected(
            error_of(static_cast<int>(-moved), path_, way == Way::kRead ? "read" : "write"));
      if (moved < 0) continue;
      done += static_cast<size_t>(moved);
      if (access_ == Access::kBuffered || moved % kBlockBytes == 0) continue;
      // A read that ends within a block has met the end; a write goes on at the block's begin.
      if (way == Way::kRead) break;
      done -= done % kBlockBytes;
      if (++retries > kRetriesMax) break;
    }
    return done;
  }

  template <typename Function>
  Result<> once(std::string_view what, const Function& function) {
    const Permit permit(files_.free_);
    int retries = 0;
    while (true) {
      const int64_t status = function();
      if (status >= 0) return {};
      if (!again(status, retries))
        return std::unexpected(error_of(static_cast<int>(-status), path_, what));
    }
  }

  static bool again(int64_t status, int& retries) {
    if ((status != -EINTR && status != -EAGAIN) || ++retries > kRetriesMax) return false;
    yield_fiber();
    return true;
  }

  NativeFiles& files_;
  const std::string path_;
  const int fd_;
  const Access access_;
};

Result<std::unique_ptr<NativeFiles>> NativeFiles::open(EventLoop& loop, const std::string& root,
                                                       const NativeOptions& options) {
  if (options.depth < 1 || options.depth > Ring::kDepthMax) {
    return fail(Code::kInvalidArgument, fmt::format("a depth of {}; it must be from 1 to {}",
                                                    options.depth, Ring::kDepthMax));
  }
  Descriptor folder(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0) return failed(root, "open folder");
  std::unique_ptr<Ring> ring;
  if (options.engine != Engine::kThreads) {
    Result<std::unique_ptr<Ring>> opened = Ring::open(loop, options.depth);
    if (!opened && options.engine == Engine::kIoUring) return std::unexpected(opened.error());
    if (opened) ring = *std::move(opened);
  }
  return std::unique_ptr<NativeFiles>(
      new NativeFiles(loop, std::move(folder), std::move(ring), options.depth));
}

NativeFiles::NativeFiles(EventLoop& loop, Descriptor root, std::unique_ptr<Ring> ring, int depth)
    : root_(std::move(root)),
      ring_(std::move(ring)),
      free_(depth),
      threads_(loop,
               {.threads = ring_ ? kThreads : std::min(depth, kDataThreads), .name = "files"}) {}

template <typename Function>
auto NativeFiles::offload(const Function& function) {
  const Permit permit(free_);
  return threads_.run(function);
}

Result<std::unique_ptr<File>> NativeFiles::open(std::string_view path, Open how, Access access) {
  Descriptor file = TRY(offload([&] { return open_file(root_.get(), path, how, access); }));
  return std::make_unique<OpenFile>(*this, path, std::move(file), access);
}

Result<> NativeFiles::remove(std::string_view path) {
  return offload([&] { return remove_name(root_.get(), path); });
}

Result<> NativeFiles::rename(std::string_view from, std::string_view to) {
  return offload([&] { return rename_file(root_.get(), from, to); });
}

Result<> NativeFiles::make_folder(std::string_view path) {
  return offload([&] { return make_folder_at(root_.get(), path); });
}

Result<> NativeFiles::sync_folder(std::string_view path) {
  if (!path.empty()) TRY(check_path(path));
  return offload([&]() -> Result<> {
    const Descriptor folder = TRY(open_folder(root_.get(), path));
    if (::fsync(folder.get()) != 0) return failed(path, "sync folder");
    return {};
  });
}

Result<std::vector<std::string>> NativeFiles::list(std::string_view path) {
  if (!path.empty()) TRY(check_path(path));
  return offload([&] { return list_folder(root_.get(), path); });
}

Result<Space> NativeFiles::space() {
  return offload([&]() -> Result<Space> {
    struct statvfs found = {};
    if (::fstatvfs(root_.get(), &found) != 0) return failed(".", "space");
    const auto unit = static_cast<int64_t>(found.f_frsize);
    return Space{static_cast<int64_t>(found.f_blocks) * unit,
                 static_cast<int64_t>(found.f_bavail) * unit};
  });
}

Result<std::unique_ptr<FileLock>> NativeFiles::lock(std::string_view path) {
  struct Held final : FileLock {
    explicit Held(Descriptor of) : file(std::move(of)) {}
    Descriptor file;
  };
  return offload([&]() -> Result<std::unique_ptr<FileLock>> {
    Descriptor file = TRY(open_file(root_.get(), path, Open::kCreate, Access::kBuffered));
    if (::flock(file.get(), LOCK_EX | LOCK_NB) == 0) return std::make_unique<Held>(std::move(file));
    if (errno != EWOULDBLOCK) return failed(path, "lock");
    return fail(Code::kUnavailable, fmt::format("{}: another process has it locked", path));
  });
}

}  // namespace hadal::io
