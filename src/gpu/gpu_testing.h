// For the tests of this folder: the fake driver, folders that go away, child processes.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>

#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/check.h"
#include "gpu/driver_device.h"
#include "gpu/fake_cuda.h"

namespace hadal::gpu {

/// What the fake libraries share with the tests; as new after reset_fake().
inline FakeCuda& fake() {
  void* const library = ::dlopen(HADAL_FAKE_CUDA, RTLD_NOW | RTLD_LOCAL);
  CHECK(library != nullptr, ::dlerror());
  return *reinterpret_cast<FakeCudaFunction*>(::dlsym(library, "fake_cuda"))();
}

inline FakeCuda& reset_fake() {
  FakeCuda& all = fake();
  static_cast<FakeCudaState&>(all) = {};
  return all;
}

inline DriverLibraries fake_libraries() {
  return {.driver = {HADAL_FAKE_CUDA}, .nvrtc = {HADAL_FAKE_CUDA}};
}

/// A kernel that the fake compiler takes.
inline KernelSource fake_kernel(const std::string& name, const std::string& more = "") {
  KernelSource source;
  source.name = name;
  source.text = "extern \"C\" __global__ void " + name + "(Parameters p) {}\n" + more;
  source.parameter_bytes = 16;
  source.threads = 128;
  source.shared_bytes = 65536;
  return source;
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "hadal-gpu-XXXXXX").string();
    CHECK(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

/// Runs `body` in a forked process, which ends with what it returns.
template <typename Body>
pid_t start_child(Body&& body) {
  const pid_t pid = ::fork();
  CHECK(pid >= 0);
  if (pid == 0) ::_exit(body());
  return pid;
}

/// The exit code of a child; -1 for a signal.
inline int wait_child(pid_t pid) {
  int status = 0;
  CHECK(::waitpid(pid, &status, 0) == pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

template <typename Body>
int in_child(Body&& body) {
  return wait_child(start_child(body));
}

}  // namespace hadal::gpu
