// hadal kv bench, check: the key-value store on a disk.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>

#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/terminal.h"
#include "io/event_loop.h"
#include "kv/embedded.h"
#include "kv/measure.h"

namespace hadal::cli {
namespace {

using Json = nlohmann::ordered_json;

void print(const Json& json, Terminal& terminal) {
  terminal.print(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

/// A line on the terminal that the next one replaces.
void show_progress(const std::string& line) {
  if (::isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\r\33[K{}", line);
}

struct BenchArgs {
  kv::MeasureOptions measure = {};
  bool json = false;
};

Result<ExitCode> bench_command(const BenchArgs& args, Terminal& terminal) {
  kv::MeasureOptions options = args.measure;
  const std::filesystem::path folder = std::filesystem::path(options.path).lexically_normal();
  std::error_code ignored;
  const bool ours = !std::filesystem::exists(folder, ignored);
  options.progress = [](std::string_view what, double share) {
    show_progress(fmt::format("{} {:.0f} %", what, 100 * share));
  };
  const Result<kv::Measured> result = kv::measure(options);
  show_progress("");
  if (ours) std::filesystem::remove_all(folder, ignored);
  const kv::Measured m = TRY(Result<kv::Measured>(result));
  const double limit = m.transactions_per_s_limit(options.clients);
  if (args.json) {
    print({{"rows", options.rows},
           {"clients", options.clients},
           {"transactions_per_s", m.transactions_per_s},
           {"transactions_per_s_limit", limit},
           {"transactions_per_flush", m.transactions_per_flush},
           {"conflicts_per_transaction", m.conflicts_per_transaction},
           {"flush_us", m.flush_s * 1e6},
           {"reads_per_s", m.reads_per_s},
           {"scanned_rows_per_s", m.scanned_rows_per_s},
           {"fill_rows_per_s", m.fill_rows_per_s}},
          terminal);
    return 0;
  }
  Table table;
  const auto rate = [](double value) { return fmt::format("{:.0f} /s", value); };
  table.add({"durable transactions", rate(m.transactions_per_s),
             fmt::format("{} clients, 2 reads and 2 writes each; {:.0f} % of the limit",
                         options.clients, 100 * m.transactions_per_s / limit)});
  table.add({"their limit", rate(limit),
             fmt::format("a flush of {:.0f} us for each client's turn", m.flush_s * 1e6)});
  table.add({"in one flush", fmt::format("{:.1f}", m.transactions_per_flush), "transactions"});
  table.add({"point reads", rate(m.reads_per_s), "a transaction each"});
  table.add({"scanned rows", rate(m.scanned_rows_per_s), ""});
  if (m.fill_rows_per_s > 0) table.add({"filled rows", rate(m.fill_rows_per_s), ""});
  terminal.print(
      fmt::format("{}, {}; every counter adds up\n", options.path, counted(options.rows, "row")));
  terminal.print(table.text(2));
  return 0;
}

struct CheckArgs {
  std::string path;
  bool json = false;
};

/// Opens the store and looks at everything.
Result<kv::StoreCheck> check_store(const std::string& path) {
  io::EventLoop loop;
  std::optional<Result<kv::StoreCheck>> result;
  loop.run([&] {
    auto store = kv::EmbeddedStore::open(loop, {.path = path, .create = false});
    if (!store) {
      result = std::unexpected(store.error());
      return;
    }
    result = in(
        path, (*store)->check([](uint64_t rows) { show_progress(fmt::format("{} rows", rows)); }));
    (*store)->close();
  });
  show_progress("");
  return *result;
}

Result<ExitCode> check_command(const CheckArgs& args, Terminal& terminal) {
  const Result<kv::StoreCheck> found = check_store(args.path);
  const bool corrupt = !found && found.error().code == Code::kCorrupt;
  if (!found && !corrupt) return std::unexpected(found.error());
  if (args.json) {
    Json out = {{"ok", !corrupt}};
    if (corrupt) {
      out["problem"] = found.error().message;
    } else {
      out["format"] = kv::kFormatVersion;
      out["version"] = found->state.version;
      out["transactions"] = found->state.transactions;
      out["rows"] = found->rows;
      out["bytes"] = found->bytes;
    }
    print(out, terminal);
  } else if (corrupt) {
    terminal.print(fmt::format("corrupt: {}\n", found.error().message));
  } else {
    terminal.print(
        fmt::format("{}: whole; format {}, version {}, {}, {} of {} bytes\n", args.path,
                    kv::kFormatVersion, found->state.version,
                    counted(static_cast<long long>(found->state.transactions), "transaction"),
                    counted(static_cast<long long>(found->rows), "row"), found->bytes));
  }
  return corrupt ? 1 : 0;
}

}  // namespace

void add_kv(Command& root) {
  Command kv = root.add("kv", "The transactional key-value store under the file system");

  const auto bench = std::make_shared<BenchArgs>();
  Command command = kv.add("bench", "Durable transactions and reads, next to what the disk allows");
  command.file("dir", bench->measure.path, "A folder for the store; removed again if it is new")
      .required();
  command.integer64("--rows", bench->measure.rows, "Rows of the store", 2);
  command.integer("--clients", bench->measure.clients, "Transactions under way", 1, 1024);
  command.integer64("--transactions", bench->measure.transactions, "How many to measure", 1);
  command.integer64("--reads", bench->measure.reads, "How many point reads to measure", 1);
  command.flag("--json", bench->json, "Print JSON");
  command.run([bench](Terminal& terminal) { return bench_command(*bench, terminal); });

  const auto check = std::make_shared<CheckArgs>();
  command = kv.add("check", "Verify a store: checksums, the form of every row, its records");
  command.file("dir", check->path, "The folder of the store").required();
  command.flag("--json", check->json, "Print JSON");
  command.run([check](Terminal& terminal) { return check_command(*check, terminal); });
}

}  // namespace hadal::cli
