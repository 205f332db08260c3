#include "cli/machine.h"

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string_view>

#include <dlfcn.h>
#include <fmt/core.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include "cli/version.h"
#include "cpu/cpu.h"
#include "gpu/compiler.h"
#include "gpu/driver_device.h"
#include "io/event_loop.h"
#include "io/ring.h"

namespace hadal::cli {
namespace {

namespace fs = std::filesystem;

Probe present(std::string name, std::string found) {
  return {.name = std::move(name), .ok = true, .found = std::move(found), .costs = ""};
}

Probe missing(std::string name, std::string why, std::string costs) {
  return {.name = std::move(name), .ok = false, .found = std::move(why), .costs = std::move(costs)};
}

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
  const Result<gpu::DriverState> state = gpu::driver_state();
  if (!state) return missing("gpu", state.error().message, costs);
  if (state->devices.empty()) return missing("gpu", "a driver but no device", costs);
  return present("gpu",
                 fmt::format("{} x {}, driver for CUDA {}", state->devices.size(),
                             state->devices[0].name, gpu::cuda::version_text(state->version)));
}

Probe probe_nvrtc() {
  const Result<gpu::Compiler> compiler = gpu::Compiler::open();
  if (!compiler) {
    return missing("nvrtc", compiler.error().message,
                   "GPU kernels cannot be compiled here; only cached ones run");
  }
  return present("nvrtc", fmt::format("{} {}", compiler->path(),
                                      gpu::cuda::version_text(compiler->version())));
}

Probe probe_io_uring() {
  io::EventLoop loop;
  const Result<std::unique_ptr<io::Ring>> ring = io::Ring::open(loop, 1);
  if (ring) return present("io_uring", "taken by the kernel");
  return missing("io_uring", ring.error().message,
                 "files are read and written by threads, at more CPU time per operation");
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

/// The library stays loaded, as drivers start threads that do not survive an unload.
Probe probe_library(const char* key, const char* file, const char* costs) {
  const bool found = ::dlopen(file, RTLD_LAZY | RTLD_LOCAL) != nullptr;
  return found ? present(key, file) : missing(key, fmt::format("no {}", file), costs);
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
          probe_io_uring(),
          probe_fuse(),
          probe_library("duckdb", "libduckdb.so", "hadal pond cannot run SQL or read Parquet"),
          probe_slurm(),
          probe_rdma(),
          probe_library("ucx", "libucp.so.0",
                        "no RDMA or CUDA transports; shared memory and TCP remain"),
          probe_python()};
}

}  // namespace hadal::cli
