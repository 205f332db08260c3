#include "cli/fs_bench.h"

#include <array>
#include <cstdio>
#include <memory>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace hadal::cli {
namespace {

/// The words of a shell command that runs fio.
std::string fio_command(const std::string& folder, const DiskLoad& load, int64_t file_bytes,
                        int seconds) {
  std::string quoted = "'";
  for (const char c : folder) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  quoted += "'";
  return fmt::format(
      "fio --name=ceiling --filename={}/ceiling --rw={} --bs={} --iodepth={} --size={} --direct=1 "
      "--ioengine=io_uring --time_based --ramp_time=0.3 --runtime={} --randrepeat=1 "
      "--output-format=json{} 2>/dev/null",
      quoted, load.pattern, load.block_bytes, load.depth, file_bytes, seconds,
      load.sync_each ? " --fdatasync=1" : "");
}

}  // namespace

Result<double> fio_rate(const std::string& folder, const DiskLoad& load, int64_t file_bytes,
                        int seconds) {
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(
      ::popen(fio_command(folder, load, file_bytes, seconds).c_str(), "r"), ::pclose);
  if (!pipe) return fail(Code::kUnsupported, "fio does not start");
  std::string text;
  std::array<char, 4096> piece;
  for (size_t n = 0; (n = std::fread(piece.data(), 1, piece.size(), pipe.get())) > 0;)
    text.append(piece.data(), n);
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (json.is_discarded() || !json.contains("jobs"))
    return fail(Code::kUnsupported,
                "fio is not installed, or fails; the disk's own figures are missing");
  const auto& job = json["jobs"][0];
  return job["read"]["iops"].get<double>() + job["write"]["iops"].get<double>();
}

}  // namespace hadal::cli
