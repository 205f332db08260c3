// hadal fs: so far, the chunk stores of a machine.
#include <filesystem>
#include <memory>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/terminal.h"
#include "fs/chunk/store.h"
#include "io/event_loop.h"
#include "io/native_files.h"

namespace hadal::cli {
namespace {

using Json = nlohmann::ordered_json;

struct ChunksArgs {
  std::string folder;
  bool json = false;
};

/// Opens the store in a folder, and calls the function with it in a fiber.
template <typename Function>
Result<ExitCode> with_store(const std::string& folder, const Function& function) {
  std::error_code error;
  const std::filesystem::path path = std::filesystem::weakly_canonical(folder, error);
  if (error || !path.has_filename())
    return fail(Code::kInvalidArgument, fmt::format("{}: no folder of a store", folder));
  io::EventLoop loop;
  Result<ExitCode> result = fail(Code::kInternal, "the loop ended early");
  const auto main = [&]() -> Result<ExitCode> {
    const auto files = TRY(io::NativeFiles::open(loop, path.parent_path().string()));
    const auto store = TRY(fs::ChunkStore::open(*files, path.filename().string(), {}));
    return function(*store);
  };
  loop.run([&] { result = main(); });
  return result;
}

std::string mebibytes(uint64_t pages) {
  return fmt::format("{:.1f} MiB", static_cast<double>(pages) / 256);
}

Result<ExitCode> info_command(const ChunksArgs& args, Terminal& terminal) {
  return with_store(args.folder, [&](fs::ChunkStore& store) -> Result<ExitCode> {
    const fs::Super& super = store.super();
    const fs::ChunkSpace space = store.space();
    const fs::Log::Replayed& log = store.replayed();
    if (args.json) {
      const Json out = {{"store", fmt::format("{:016x}{:016x}", super.id.first, super.id.second)},
                        {"created_s", super.created_s},
                        {"page_bytes", fs::kPageBytes},
                        {"segment_pages", super.segment_pages},
                        {"segments", super.segments},
                        {"chunks", store.chunks()},
                        {"capacity_pages", space.capacity_pages},
                        {"used_pages", space.used_pages},
                        {"free_pages", space.free_pages},
                        {"slack_pages", space.slack_pages},
                        {"reserved_pages", space.reserved_pages},
                        {"log_batches", log.batches},
                        {"log_records", log.records},
                        {"dropped_tail", log.dropped_tail}};
      terminal.print(out.dump(2) + "\n");
      return 0;
    }
    Table table;
    table.add({"store", fmt::format("{:016x}{:016x}", super.id.first, super.id.second)});
    table.add({"chunks", fmt::format("{}", store.chunks())});
    table.add({"capacity", mebibytes(space.capacity_pages)});
    table.add({"in use", mebibytes(space.used_pages)});
    table.add({"free", mebibytes(space.free_pages)});
    table.add({"free for one size only", mebibytes(space.slack_pages)});
    table.add({"of the free, in reserve", mebibytes(space.reserved_pages)});
    table.add({"log replayed",
               fmt::format("{} in {}", counted(static_cast<long long>(log.records), "record"),
                           counted(static_cast<long long>(log.batches), "batch"))});
    terminal.print(table.text());
    return 0;
  });
}

Result<ExitCode> check_command(const ChunksArgs& args, Terminal& terminal) {
  return with_store(args.folder, [&](fs::ChunkStore& store) -> Result<ExitCode> {
    Json bad = Json::array();
    std::string lines;
    const fs::ChunkStore::Scrubbed scrubbed =
        TRY(store.scrub([&](const fs::ChunkId& id, const Error& error) {
          bad.push_back({{"chunk", to_string(id)}, {"error", error.message}});
          lines += error.message + "\n";
        }));
    const std::string wrong = store.check();
    if (args.json) {
      const Json out = {{"chunks", scrubbed.chunks},
                        {"pages", scrubbed.pages},
                        {"bad", bad},
                        {"books", wrong},
                        {"dropped_tail", store.replayed().dropped_tail}};
      terminal.print(out.dump(2) + "\n");
    } else {
      terminal.print(lines);
      if (!wrong.empty()) terminal.print(wrong + "\n");
      terminal.print(fmt::format("{}, {} read, {} bad\n",
                                 counted(static_cast<long long>(scrubbed.chunks), "chunk"),
                                 mebibytes(scrubbed.pages), scrubbed.bad.size()));
    }
    return scrubbed.bad.empty() && wrong.empty() ? 0 : 1;
  });
}

void add_store_command(Command& chunks, const std::string& name, const std::string& help,
                       Result<ExitCode> (*body)(const ChunksArgs&, Terminal&)) {
  const auto args = std::make_shared<ChunksArgs>();
  Command command = chunks.add(name, help);
  command.file("folder", args->folder, "The store's folder").required();
  command.flag("--json", args->json, "Print JSON");
  command.run([args, body](Terminal& terminal) { return body(*args, terminal); });
}

}  // namespace

void add_fs(Command& root) {
  Command fs = root.add("fs", "The file system: so far, its chunk stores");
  Command chunks = fs.add("chunks", "Stores of chunks on this machine's disks");
  add_store_command(chunks, "info", "What a store is and how full", info_command);
  add_store_command(chunks, "check", "Read every page of a store, and check the books",
                    check_command);
  add_fs_chunks_bench(chunks);
}

}  // namespace hadal::cli
