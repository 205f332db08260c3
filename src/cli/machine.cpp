#include "cli/machine.h"

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <memory>
#include <string_view>

#include <dlfcn.h>
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include "cli/version.h"
#include "cpu/cpu.h"

namespace hadal::cli {
namespace {

namespace fs = std::filesystem;

Probe present(std::string name, std::string found) {
  return {.name = std::move(name), .ok = true, .found = std::move(found), .costs = ""};
}

Probe missing(std::string name, std::string why, std::string costs) {
  return {.name = std::move(name), .ok = false, .found = std::move(why), .costs = std::move(costs)};
}

/// A shared library, kept loaded: drivers start threads that do not survive an unload.
class Library {
 public:
  explicit Library(std::initializer_list<const char*> names) {
    for (const char* name : names) {
      handle_ = ::dlopen(name, RTLD_LAZY | RTLD_LOCAL);
      name_ = name;
      if (handle_ != nullptr) return;
    }
  }

  explicit operator bool() const { return handle_ != nullptr; }
  const std::string& name() const { return name_; }

  template <typename Function>
  Function* find(const char* symbol) const {
    return reinterpret_cast<Function*>(::dlsym(handle_, symbol));
  }

 private:
  void* handle_ = nullptr;
  std::string name_;
};

/// The value of the first line of a /proc file that starts with `key`, behind the colon.
std::string proc_value(const char* path, std::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key)) continue;
    const size_t first = line.find_first_not_of(" \t", line.find(':') + 1);
    return first == line.npos ? "" : line.substr(first);
  }
  return "";
}

/// The first executable file of that name in PATH, or "".
std::string find_program(std::string_view name) {
  const char* path = std::getenv("PATH");
  std::string_view rest = path == nullptr ? "" : path;
  while (!rest.empty()) {
    const size_t end = rest.find(':');
    const std::string candidate = fmt::format("{}/{}", rest.substr(0, end), name);
    std::error_code error;
    if (fs::is_regular_file(candidate, error) && ::access(candidate.c_str(), X_OK) == 0) {
      return candidate;
    }
    rest = end == rest.npos ? "" : rest.substr(end + 1);
  }
  return "";
}

Probe probe_isa(const cpu::Machine& machine) {
  const std::string found =
      fmt::format("{}: {}", cpu::name(machine.isa), fmt::join(machine.features, " "));
  if (machine.isa >= cpu::Isa::kAvx512) return present("isa", found);
  return missing("isa", found,
                 "no AVX-512: CPU kernels use narrower vectors, about half the speed");
}

Probe probe_cpu(const cpu::Machine& machine) {
  return present("cpu", fmt::format("{}, {} core{} usable, {} KiB L2 each, {} MiB L3",
                                    machine.brand, machine.threads, machine.threads == 1 ? "" : "s",
                                    machine.l2_bytes >> 10, machine.l3_bytes >> 20));
}

Probe probe_memory() {
  const auto gib = [](std::string_view key) {
    return std::strtod(proc_value("/proc/meminfo", key).c_str(), nullptr) / (1 << 20);
  };
  return present("memory", fmt::format("{:.1f} GiB, {:.1f} GiB available", gib("MemTotal"),
                                       gib("MemAvailable")));
}

Probe probe_gpu() {
  const std::string costs = "GPU kernels do not run; everything runs on the CPU";
  const Library cuda({"libcuda.so.1"});
  if (!cuda) return missing("gpu", "no driver (libcuda.so.1)", costs);
  auto* const init = cuda.find<int(unsigned)>("cuInit");
  auto* const count = cuda.find<int(int*)>("cuDeviceGetCount");
  auto* const driver = cuda.find<int(int*)>("cuDriverGetVersion");
  auto* const device_name = cuda.find<int(char*, int, int)>("cuDeviceGetName");
  if (init == nullptr || count == nullptr || driver == nullptr || device_name == nullptr) {
    return missing("gpu", "libcuda.so.1 lacks cuInit and its like", costs);
  }
  if (const int error = init(0); error != 0) {
    return missing("gpu", fmt::format("cuInit failed with error {}", error), costs);
  }
  int devices = 0, version = 0;
  std::array<char, 128> name{};
  if (count(&devices) != 0 || devices == 0) return missing("gpu", "a driver but no device", costs);
  driver(&version);
  device_name(name.data(), static_cast<int>(name.size()) - 1, 0);
  return present("gpu", fmt::format("{} x {}, driver for CUDA {}.{}", devices, name.data(),
                                    version / 1000, version % 1000 / 10));
}

Probe probe_nvrtc() {
  const std::string costs = "GPU kernels cannot be compiled here; only cached ones run";
  const Library nvrtc({"libnvrtc.so.13", "libnvrtc.so.12"});
  if (!nvrtc) return missing("nvrtc", "no libnvrtc.so.13 or libnvrtc.so.12", costs);
  auto* const version = nvrtc.find<int(int*, int*)>("nvrtcVersion");
  int major = 0, minor = 0;
  if (version == nullptr || version(&major, &minor) != 0) {
    return missing("nvrtc", nvrtc.name() + " does not tell its version", costs);
  }
  return present("nvrtc", fmt::format("{} {}.{}", nvrtc.name(), major, minor));
}

Probe probe_fuse() {
  const std::string costs = "hadal fs cannot be mounted; its client library still works";
  if (::access("/dev/fuse", F_OK) != 0) return missing("fuse", "no /dev/fuse", costs);
  if (::access("/dev/fuse", R_OK | W_OK) != 0) {
    return missing("fuse", "/dev/fuse may not be opened by this user", costs);
  }
  const std::string helper = find_program("fusermount3");
  if (!helper.empty()) return present("fuse", "/dev/fuse, " + helper);
  if (::geteuid() == 0) return present("fuse", "/dev/fuse, mounts as root (no fusermount3)");
  return missing("fuse", "/dev/fuse but no fusermount3", costs);
}

Probe probe_library(const char* key, const char* file, const char* costs) {
  const Library library({file});
  return library ? present(key, file) : missing(key, fmt::format("no {}", file), costs);
}

Probe probe_slurm() {
  const std::string sbatch = find_program("sbatch");
  if (!sbatch.empty()) return present("slurm", sbatch);
  return missing("slurm", "no sbatch in PATH", "pond runs on this machine only");
}

Probe probe_rdma() {
  std::vector<std::string> devices;
  std::error_code error;
  for (fs::directory_iterator it("/sys/class/infiniband", error), end; !error && it != end;
       it.increment(error)) {
    devices.push_back(it->path().filename().string());
  }
  if (!devices.empty()) return present("rdma", fmt::format("{}", fmt::join(devices, " ")));
  return missing("rdma", "no device in /sys/class/infiniband",
                 "between machines data goes over TCP");
}

Probe probe_python() {
  const std::string costs = "the Python module cannot be used";
  // The distribution's own, which the module is built for; another python3 may come first in PATH.
  const std::string own = "/usr/bin/python3";
  const bool has_own = ::access(own.c_str(), X_OK) == 0;
  const std::string python = has_own ? own : find_program("python3");
  if (python.empty()) return missing("python", "no python3 in PATH", costs);
  // What PATH says is found again by the shell, so that no file name becomes part of a command.
  const std::string command = fmt::format(
      "exec {} -c 'import sys; print(sys.version.split()[0]); import numpy; "
      "print(numpy.__version__)' 2>/dev/null",
      has_own ? own : "python3");
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "re"), ::pclose);
  std::vector<std::string> lines;
  std::array<char, 128> line{};
  while (pipe != nullptr && std::fgets(line.data(), line.size(), pipe.get()) != nullptr) {
    std::string text = line.data();
    text.erase(text.find_last_not_of(" \r\n") + 1);
    lines.push_back(std::move(text));
  }
  if (lines.empty()) return missing("python", python + " does not run", costs);
  if (lines.size() == 1) {
    return missing("python", fmt::format("{} {} without numpy", python, lines[0]), costs);
  }
  return present("python", fmt::format("{} {}, numpy {}", python, lines[0], lines[1]));
}

}  // namespace

std::vector<Probe> probe_machine() {
  const cpu::Machine machine = cpu::describe_machine();
  return {probe_isa(machine),
          probe_cpu(machine),
          probe_memory(),
          present("compiler", compiler_name()),
          probe_gpu(),
          probe_nvrtc(),
          probe_fuse(),
          probe_library("duckdb", "libduckdb.so", "hadal pond cannot run SQL or read Parquet"),
          probe_slurm(),
          probe_rdma(),
          probe_library("ucx", "libucp.so.0",
                        "no RDMA or CUDA transports; shared memory and TCP remain"),
          probe_python()};
}

}  // namespace hadal::cli
