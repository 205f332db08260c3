// hadal gpu info, compile, warm, cache.
#include <cstdio>
#include <filesystem>
#include <memory>

#include <fmt/core.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/files.h"
#include "base/threads.h"
#include "cli/commands.h"
#include "cli/gpu_catalog.h"
#include "cli/terminal.h"
#include "gpu/driver_device.h"
#include "gpu/kernel_store.h"

namespace hadal::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kSourceBytesMax = int64_t{16} << 20;

void print(const Json& json, Terminal& terminal) {
  terminal.print(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

gpu::CubinCache open_cache() {
  return gpu::CubinCache(gpu::default_cache_path(), gpu::DeviceOptions().cache_bytes);
}

std::string size_text(int64_t bytes) {
  if (bytes < 10'000) return fmt::format("{} B", bytes);
  if (bytes < int64_t{10} << 20) return fmt::format("{} KiB", bytes >> 10);
  if (bytes < int64_t{10} << 30) return fmt::format("{} MiB", bytes >> 20);
  return fmt::format("{} GiB", bytes >> 30);
}

std::string age_text(double seconds) {
  if (seconds < 120) return fmt::format("{:.0f} s", seconds);
  if (seconds < 7200) return fmt::format("{:.0f} min", seconds / 60);
  if (seconds < 172800) return fmt::format("{:.0f} h", seconds / 3600);
  return fmt::format("{:.0f} days", seconds / 86400);
}

// --- info -----------------------------------------------------------------------------------

Json device_json(const gpu::DeviceInfo& device) {
  std::string uuid;
  for (const uint8_t byte : device.uuid) uuid += fmt::format("{:02x}", byte);
  return {{"ordinal", device.ordinal},
          {"name", device.name},
          {"compute_capability", fmt::format("{}.{}", device.major, device.minor)},
          {"runs_kernels", device.major == 9 && device.minor == 0},
          {"sms", device.num_sms},
          {"clock_mhz", device.clock_khz / 1000},
          {"memory_bytes", device.memory_bytes},
          {"memory_bytes_per_s", device.memory_bytes_per_s},
          {"l2_bytes", device.l2_bytes},
          {"shared_bytes_per_block", device.shared_bytes_per_block},
          {"uuid", uuid}};
}

struct CacheState {
  std::string path;
  int64_t bytes_max = 0;
  int64_t bytes = 0;
  int defects = 0;
  std::vector<gpu::CubinCache::Entry> entries;
};

Result<CacheState> read_cache() {
  const gpu::CubinCache cache = open_cache();
  if (const std::optional<Error> trouble = cache.trouble()) return std::unexpected(*trouble);
  CacheState state;
  state.path = cache.path();
  state.bytes_max = cache.bytes_max();
  state.entries = TRY(cache.list());
  for (const gpu::CubinCache::Entry& entry : state.entries) {
    state.bytes += entry.bytes;
    state.defects += entry.defect ? 1 : 0;
  }
  return state;
}

struct GpuState {
  Result<gpu::DriverState> driver = gpu::driver_state();
  Result<gpu::Compiler> compiler = gpu::Compiler::open();
  Result<CacheState> cache = read_cache();
};

/// "error" of whatever is missing; null of what is there.
template <typename T>
Json error_json(const Result<T>& result) {
  return result ? Json(nullptr) : Json(result.error().message);
}

Json info_json(const GpuState& state) {
  Json out;
  out["architecture"] = gpu::kArchitecture;
  out["driver"] = {{"version", nullptr}, {"error", error_json(state.driver)}};
  out["nvrtc"] = {
      {"version", nullptr}, {"library", nullptr}, {"error", error_json(state.compiler)}};
  out["devices"] = Json::array();
  out["cache"] = {{"path", gpu::default_cache_path()}, {"error", error_json(state.cache)}};
  if (state.driver) {
    out["driver"]["version"] = gpu::cuda::version_text(state.driver->version);
    for (const gpu::DeviceInfo& device : state.driver->devices) {
      out["devices"].push_back(device_json(device));
    }
  }
  if (state.compiler) {
    out["nvrtc"]["version"] = gpu::cuda::version_text(state.compiler->version());
    out["nvrtc"]["library"] = state.compiler->path();
  }
  if (state.cache) {
    out["cache"]["entries"] = state.cache->entries.size();
    out["cache"]["bytes"] = state.cache->bytes;
    out["cache"]["bytes_max"] = state.cache->bytes_max;
    out["cache"]["defects"] = state.cache->defects;
  }
  return out;
}

std::string device_text(const gpu::DeviceInfo& device) {
  const bool runs = device.major == 9 && device.minor == 0;
  return fmt::format("{} {}: {}.{}{}, {} SMs at {} MHz, {} at {:.2f} TB/s", device.ordinal,
                     device.name, device.major, device.minor,
                     runs ? "" : " (kernels are for 9.0 and do not run)", device.num_sms,
                     device.clock_khz / 1000, size_text(device.memory_bytes),
                     static_cast<double>(device.memory_bytes_per_s) / 1e12);
}

void print_info(const GpuState& state, Terminal& terminal) {
  const auto line = [&](std::string_view key, const std::string& text) {
    terminal.print(fmt::format("{:<8} {}\n", key, text));
  };
  const auto missing = [&](std::string_view key, const Error& error, std::string_view costs) {
    line(key, terminal.bold("missing: ") + error.message);
    line("", terminal.faint(costs));
  };
  if (state.driver) {
    line("driver", fmt::format("for CUDA {}", gpu::cuda::version_text(state.driver->version)));
    if (state.driver->devices.empty()) line("device", terminal.bold("missing: ") + "no GPU");
    for (const gpu::DeviceInfo& device : state.driver->devices) line("device", device_text(device));
  } else {
    missing("driver", state.driver.error(), "kernels do not run on a GPU here; the CPU runs all");
  }
  if (state.compiler) {
    line("nvrtc",
         fmt::format("{}, {}; compiles for {}", gpu::cuda::version_text(state.compiler->version()),
                     state.compiler->path(), gpu::kArchitecture));
  } else {
    missing("nvrtc", state.compiler.error(), "only kernels that are in the cache can be loaded");
  }
  if (state.cache) {
    line("cache",
         fmt::format(
             "{}: {}, {} of {}{}", state.cache->path,
             counted(static_cast<long long>(state.cache->entries.size()), "kernel"),
             size_text(state.cache->bytes), size_text(state.cache->bytes_max),
             state.cache->defects == 0 ? "" : fmt::format(", {} damaged", state.cache->defects)));
  } else {
    missing("cache", state.cache.error(), "every process compiles its kernels anew");
  }
}

Result<ExitCode> info_command(bool json, Terminal& terminal) {
  const GpuState state;
  if (json) {
    print(info_json(state), terminal);
  } else {
    print_info(state, terminal);
  }
  return 0;
}

// --- compile --------------------------------------------------------------------------------

struct CompileArgs {
  std::string input, output;
  bool json = false;
};

Json report_json(const gpu::CompileReport& report) {
  Json entries = Json::array();
  for (const gpu::EntryUsage& entry : report.entries) {
    entries.push_back({{"name", entry.name},
                       {"registers", entry.registers},
                       {"spill_store_bytes", entry.spill_store_bytes},
                       {"spill_load_bytes", entry.spill_load_bytes},
                       {"stack_bytes", entry.stack_bytes},
                       {"shared_bytes", entry.shared_bytes},
                       {"constant_bytes", entry.constant_bytes},
                       {"barriers", entry.barriers}});
  }
  return {{"time_ms", report.time_ms}, {"entries", entries}, {"notes", report.notes}};
}

void print_report(const gpu::CompileReport& report, Terminal& terminal) {
  Table table;
  table.add({"entry", "registers", "spilled B", "stack B", "shared B", "barriers"});
  for (const gpu::EntryUsage& entry : report.entries) {
    table.add({entry.name, fmt::format("{}", entry.registers),
               fmt::format("{}", entry.spill_store_bytes + entry.spill_load_bytes),
               fmt::format("{}", entry.stack_bytes), fmt::format("{}", entry.shared_bytes),
               fmt::format("{}", entry.barriers)});
  }
  terminal.print(table.text());
  for (const std::string& note : report.notes) {
    terminal.print(fmt::format("{} {}\n", terminal.bold("note:"), note));
  }
}

Result<ExitCode> compile_command(const CompileArgs& args, Terminal& terminal) {
  gpu::KernelSource source;
  source.text = TRY(read_input(args.input, kSourceBytesMax));
  source.name = args.input == "-" ? "stdin" : std::filesystem::path(args.input).stem().string();
  const gpu::Compiler compiler = TRY(gpu::Compiler::open());
  std::string log;
  const Result<gpu::Compiled> compiled = compiler.compile(source, &log);
  if (!compiled && compiled.error().code != Code::kInvalidArgument) {
    return std::unexpected(compiled.error());
  }
  if (compiled && !args.output.empty()) {
    TRY(write_output(args.output, text_of(compiled->cubin)));
  }
  if (args.json) {
    Json out = {{"input", args.input},
                {"ok", compiled.has_value()},
                {"architecture", gpu::kArchitecture},
                {"nvrtc", gpu::cuda::version_text(compiler.version())}};
    if (compiled) {
      out["cubin_bytes"] = compiled->cubin.size();
      out.update(report_json(compiled->report));
    }
    out["log"] = log;
    print(out, terminal);
  } else if (compiled) {
    terminal.print(fmt::format("{}: {} bytes for {}, by NVRTC {} in {:.0f} ms\n",
                               shown_path(args.input), compiled->cubin.size(), gpu::kArchitecture,
                               gpu::cuda::version_text(compiler.version()),
                               compiled->report.time_ms));
    print_report(compiled->report, terminal);
    if (!args.output.empty()) terminal.print(fmt::format("wrote {}\n", args.output));
  } else {
    terminal.print(log);
    terminal.print(fmt::format("{} does not compile\n", shown_path(args.input)));
  }
  return compiled ? 0 : 1;
}

// --- warm -----------------------------------------------------------------------------------

Json warmed_json(const gpu::Warmed& kernel) {
  Json out = {{"name", kernel.name},
              {"state", kernel.error    ? "failed"
                        : kernel.cached ? "cached"
                                        : "compiled"},
              {"error", kernel.error ? Json(kernel.error->message) : Json(nullptr)},
              {"dynamic_shared_bytes", kernel.shared_bytes}};
  out.update(report_json(kernel.report));
  return out;
}

void print_warmed(const std::vector<gpu::Warmed>& kernels, Terminal& terminal) {
  Table table;
  table.add({"kernel", "state", "registers", "spilled B", "notes", "ms"});
  int failed = 0, cached = 0;
  for (const gpu::Warmed& kernel : kernels) {
    cached += kernel.cached ? 1 : 0;
    if (kernel.error) {
      ++failed;
      table.add({kernel.name, "failed", "", "", "", ""});
      continue;
    }
    int registers = 0;
    for (const gpu::EntryUsage& entry : kernel.report.entries) {
      registers = std::max(registers, entry.registers);
    }
    table.add({kernel.name, kernel.cached ? "cached" : "compiled", fmt::format("{}", registers),
               fmt::format("{}", kernel.report.spill_bytes()),
               fmt::format("{}", kernel.report.notes.size()),
               kernel.cached ? "" : fmt::format("{:.0f}", kernel.report.time_ms)});
  }
  terminal.print(table.text());
  for (const gpu::Warmed& kernel : kernels) {
    if (kernel.error) terminal.print(kernel.error->message + "\n");
  }
  const auto total = static_cast<long long>(kernels.size());
  terminal.print(fmt::format("{}: {} compiled, {} in the cache before, {} failed\n",
                             counted(total, "kernel"), total - cached - failed, cached, failed));
}

Result<ExitCode> warm_command(bool json, Terminal& terminal) {
  const std::vector<gpu::KernelSource> catalog = gpu_catalog();
  gpu::KernelStore store(gpu::DeviceOptions{});
  size_t done = 0;
  const auto progress = [&](const gpu::Warmed& kernel) {
    if (::isatty(STDERR_FILENO) == 0) return;
    fmt::print(stderr, "\r\33[K{}/{} {}", ++done, catalog.size(), kernel.name);
    if (done == catalog.size()) fmt::print(stderr, "\r\33[K");
  };
  ThreadPool pool;
  const std::vector<gpu::Warmed> kernels = gpu::warm(store, catalog, pool, progress);
  if (const std::optional<Error> trouble = store.cache().trouble(); trouble && !kernels.empty()) {
    return std::unexpected(*trouble);  // the work would be lost
  }
  bool ok = true;
  for (const gpu::Warmed& kernel : kernels) ok = ok && !kernel.error;
  if (json) {
    Json out = {{"cache", store.cache().path()}, {"kernels", Json::array()}};
    for (const gpu::Warmed& kernel : kernels) out["kernels"].push_back(warmed_json(kernel));
    print(out, terminal);
  } else if (kernels.empty()) {
    terminal.print("the catalog has no kernels: there is nothing to compile\n");
  } else {
    print_warmed(kernels, terminal);
  }
  return ok ? 0 : 1;
}

// --- cache ----------------------------------------------------------------------------------

struct CacheArgs {
  bool clear = false, verify = false, json = false;
};

Json entry_json(const gpu::CubinCache::Entry& entry) {
  Json out = {{"file", entry.file}, {"bytes", entry.bytes}, {"age_s", entry.age_s}};
  if (entry.defect) {
    out["defect"] = entry.defect->message;
    return out;
  }
  out["defect"] = nullptr;
  out["kernel"] = entry.name;
  out["architecture"] = entry.architecture;
  out["nvrtc"] = gpu::cuda::version_text(entry.key.compiler);
  return out;
}

void print_cache(const CacheState& state, bool verify, Terminal& terminal) {
  Table table;
  table.add({"kernel", "for", "NVRTC", "size", "last used", "file"});
  for (const gpu::CubinCache::Entry& entry : state.entries) {
    if (entry.defect) continue;
    table.add({entry.name, entry.architecture, gpu::cuda::version_text(entry.key.compiler),
               size_text(entry.bytes), age_text(entry.age_s) + " ago", entry.file});
  }
  if (!verify && static_cast<int>(state.entries.size()) > state.defects) {
    terminal.print(table.text());
  }
  for (const gpu::CubinCache::Entry& entry : state.entries) {
    if (!entry.defect) continue;
    terminal.print(
        fmt::format("{} {}: {}\n", terminal.bold("damaged:"), entry.file, entry.defect->message));
  }
  terminal.print(fmt::format("{}: {}, {} of {}, {} damaged\n", state.path,
                             counted(static_cast<long long>(state.entries.size()), "kernel"),
                             size_text(state.bytes), size_text(state.bytes_max), state.defects));
}

Result<ExitCode> cache_command(const CacheArgs& args, Terminal& terminal) {
  if (args.clear && args.verify) {
    return fail(Code::kInvalidArgument, "--clear and --verify are both given; one may be");
  }
  if (args.clear) {
    gpu::CubinCache cache = open_cache();
    const int removed = TRY(cache.clear());
    if (args.json) {
      print({{"path", cache.path()}, {"removed", removed}}, terminal);
    } else {
      terminal.print(fmt::format("{}: {} removed\n", cache.path(), counted(removed, "kernel")));
    }
    return 0;
  }
  const CacheState state = TRY(read_cache());
  if (args.json) {
    Json out = {{"path", state.path},
                {"bytes", state.bytes},
                {"bytes_max", state.bytes_max},
                {"defects", state.defects},
                {"entries", Json::array()}};
    for (const gpu::CubinCache::Entry& entry : state.entries) {
      out["entries"].push_back(entry_json(entry));
    }
    print(out, terminal);
  } else {
    print_cache(state, args.verify, terminal);
  }
  return args.verify && state.defects > 0 ? 1 : 0;
}

}  // namespace

void add_gpu(Command& root) {
  Command gpu = root.add("gpu", "Look at GPUs, compile kernels, look after the kernel cache");

  const auto info = std::make_shared<bool>(false);
  Command info_verb = gpu.add("info", "Driver, devices, NVRTC and cache; what is missing");
  info_verb.flag("--json", *info, "Print JSON");
  info_verb.run([info](Terminal& terminal) { return info_command(*info, terminal); });

  const auto compile = std::make_shared<CompileArgs>();
  Command compile_verb = gpu.add("compile", "Compile a CUDA C++ file, print registers and spills");
  compile_verb.file("input", compile->input, "CUDA C++ file, or - for standard input").required();
  compile_verb.file("--output,-o", compile->output, "Write the cubin");
  compile_verb.flag("--json", compile->json, "Print JSON");
  compile_verb.run([compile](Terminal& terminal) { return compile_command(*compile, terminal); });

  const auto warm = std::make_shared<bool>(false);
  Command warm_verb = gpu.add("warm", "Compile every kernel into the cache");
  warm_verb.flag("--json", *warm, "Print JSON");
  warm_verb.run([warm](Terminal& terminal) { return warm_command(*warm, terminal); });

  const auto cache = std::make_shared<CacheArgs>();
  Command cache_verb = gpu.add("cache", "List, check or empty the cache of compiled kernels");
  cache_verb.flag("--verify", cache->verify, "Say which entries are damaged; 1 if any is");
  cache_verb.flag("--clear", cache->clear, "Remove every entry");
  cache_verb.flag("--json", cache->json, "Print JSON");
  cache_verb.run([cache](Terminal& terminal) { return cache_command(*cache, terminal); });
}

}  // namespace hadal::cli
