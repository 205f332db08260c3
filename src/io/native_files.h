// The file system of the operating system, for servers: a folder whose files fibers read and write.
//
//   loop.run([&] {
//     const auto files = TRY(NativeFiles::open(loop, "/data"));
//     const auto file = TRY(files->open("chunks/7", Open::kCreate, Access::kDirect));
//     TRY(file->write(0, buffer.bytes()));
//     TRY(file->sync());
//   });
//
// Reads, writes, syncs and holes go through io_uring (io/ring.h). Where the system refuses that
// (old kernels, most containers), threads make the same calls: engine() says which. What has no
// asynchronous form, like opening, renaming and listing, is always a thread's. So the loop itself
// never waits for a disk.
//
// The root is a folder that exists. A path is walked name by name, and a symbolic link in it is an
// error, so that nothing outside of the root is ever reached. Symbolic links, devices and
// sockets below the root are listed and can be removed, and nothing else.
//
// At most `depth` operations run at a time; further ones wait in the order in which they came.
//
// Threads: the loop's. Files, and fibers in the middle of an operation, end before the file system
// and that before the loop.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/executor.h"
#include "io/event_loop.h"
#include "io/file_system.h"
#include "io/offload.h"
#include "io/ring.h"

namespace hadal::io {

enum class Engine : uint8_t { kBest, kIoUring, kThreads };

struct NativeOptions {
  Engine engine = Engine::kBest;
  int depth = 256;  // operations at a time, 1 to Ring::kDepthMax
};

/// A descriptor of the system, closed at the end.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

class NativeFiles final : public FileSystem {
 public:
  /// kNotFound where there is no such folder; kUnsupported where Engine::kIoUring is refused.
  static Result<std::unique_ptr<NativeFiles>> open(EventLoop& loop, const std::string& root,
                                                   const NativeOptions& options = {});

  /// "io_uring" or "threads".
  std::string_view engine() const { return ring_ ? "io_uring" : "threads"; }

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
  class OpenFile;
  NativeFiles(EventLoop& loop, Descriptor root, std::unique_ptr<Ring> ring, int depth);
  /// Calls the function in a thread, as one of `depth` operations.
  template <typename Function>
  auto offload(const Function& function);

  const Descriptor root_;
  const std::unique_ptr<Ring> ring_;  // null: threads
  FiberSemaphore free_;
  Offload threads_;
};

}  // namespace hadal::io
