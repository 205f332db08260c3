// hadal gemm bench: products of the sizes of DeepSeek-V3's layers, their time, and how near it is
// to what the machine allows and to cuBLASLt. Every answer is checked before its time is shown.
#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/gemm_bench_products.h"
#include "cli/terminal.h"
#include "gemm/check.h"
#include "gemm/cublaslt.h"
#include "gemm/spec.h"
#include "gpu/emulator/emulator.h"

namespace hadal::cli {
namespace {

constexpr int64_t kFlushBytes = int64_t{256} << 20;  // more than any cache holds

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

/// Another implementation of the same product, in the same run.
struct Peer {
  double time_us = 0;  // median
  double error = 0;
  std::string missing = {};  // why there is none
};

struct Line {
  std::string name;
  gemm::PlanInfo info;
  double time_us = 0;  // median
  double error = 0;
  std::optional<Peer> peer = {};
};

// ---------------------------------------------------------------- on the CPU

Result<Line> time_on_cpu(const gemm::Context& context, const BenchProduct& product, int repeats) {
  gemm::GemmSpec wanted = product.spec;
  wanted.b.packed = true;
  const gemm::Plan plan = TRY(context.plan(wanted));
  gemm::GemmSpec plain = plan.spec();
  plain.b.packed = false;
  const BenchInputs inputs(plain, 11);
  std::vector<std::byte> d(inputs.d_bytes);
  const gemm::GemmArgs host = inputs.args(product, d);

  gemm::AlignedBytes packed(TRY(context.packed_b_bytes(plan.spec())));
  TRY(context.pack_b(plan.spec(), host.b, host.b_scale, packed.span()));
  gemm::AlignedBytes workspace(plan.workspace_bytes());
  gemm::GemmArgs args = host;
  args.b = packed.span().data();
  args.b_scale = nullptr;
  args.workspace = workspace.span();
  const RealClock clock;
  std::vector<double> times_us;
  for (int i = 0; i < repeats + 1; ++i) {
    const int64_t start_ns = clock.now_ns();
    TRY(plan.run(args));
    if (i > 0) times_us.push_back(1e-3 * static_cast<double>(clock.now_ns() - start_ns));
  }
  return Line{.name = product.name,
              .info = plan.explain(),
              .time_us = median(times_us),
              .error = TRY(worst_error(plain, host))};
}

// ---------------------------------------------------------------- on a GPU

Result<gpu::Buffer> upload(gpu::Device& device, std::span<const std::byte> bytes) {
  gpu::Buffer buffer = TRY(device.allocate(bytes.size()));
  TRY(device.copy_in(buffer.address(), bytes, nullptr));
  return buffer;
}

/// A product's inputs and output in a device's memory.
struct OnDevice {
  gpu::Buffer a, b, a_scale, b_scale, c, groups, d;

  static Result<OnDevice> make(gpu::Device& device, const BenchInputs& inputs,
                               const BenchProduct& product) {
    OnDevice out;
    out.a = TRY(upload(device, inputs.a));
    out.b = TRY(upload(device, inputs.b));
    out.a_scale = TRY(upload(device, std::as_bytes(std::span(inputs.a_scale))));
    out.b_scale = TRY(upload(device, std::as_bytes(std::span(inputs.b_scale))));
    out.c = TRY(upload(device, std::as_bytes(std::span(inputs.c))));
    out.groups = TRY(upload(device, std::as_bytes(std::span(product.groups))));
    out.d = TRY(device.allocate(inputs.d_bytes));
    return out;
  }

  gemm::GemmArgs args() const {
    const auto at = [](const gpu::Buffer& buffer) {
      return reinterpret_cast<void*>(buffer.address());
    };
    return {.a = at(a),
            .a_scale = at(a_scale),
            .b = at(b),
            .b_scale = at(b_scale),
            .c = at(c),
            .d = at(d),
            .groups = static_cast<const int32_t*>(at(groups))};
  }
};

/// Time of one piece of work on the device after its caches were filled with something else.
template <typename Work>
Result<double> cold_us(gpu::Device& device, const gpu::Buffer& flush, Work work) {
  struct Call {
    Work* work;
    Result<> result;
  } call = {&work, {}};
  TRY(device.fill(flush.address(), 0x5a, flush.size(), nullptr));
  const double ms = TRY(device.time_ms(
      nullptr,
      [](void* context) {
        auto* const c = static_cast<Call*>(context);
        c->result = (*c->work)();
      },
      &call));
  TRY(std::move(call.result));
  return 1e3 * ms;
}

/// What a GPU reads best, which is also cuBLASLt's layout of scales.
gemm::GemmSpec gpu_spec(const BenchProduct& product) {
  gemm::GemmSpec spec = product.spec;
  if (spec.grouping != gemm::Grouping::kNone) return spec;
  spec.a.scale.layout = gemm::ScaleLayout::kColMajor;
  spec.a.scale.stride = spec.m;
  spec.b.scale.stride = gemm::round_up(gemm::ceil_div(spec.k, 128), 4);
  if (spec.b.scale.block.rows == 1) {
    spec.b.scale.layout = gemm::ScaleLayout::kColMajor;
    spec.b.scale.stride = spec.n;
  }
  return spec;
}

/// cuBLASLt's product into the same D, where it has one: dense, blocks of scales, bf16.
Result<gemm::CublasltProduct> make_peer(gpu::Device& device, const gemm::GemmSpec& spec,
                                        const OnDevice& data) {
  if (spec.grouping != gemm::Grouping::kNone || spec.d.type != DType::kBf16) {
    return fail(Code::kUnsupported, "cuBLASLt has no such product");
  }
  if (device.info().emulated) return fail(Code::kUnavailable, "cuBLASLt needs a GPU");
  const std::vector<std::string> candidates = gemm::cublaslt_candidates();
  return gemm::CublasltProduct::make(device, spec.m, spec.n, spec.k,
                                     {.a = data.a.address(),
                                      .a_scale = data.a_scale.address(),
                                      .b = data.b.address(),
                                      .b_scale = data.b_scale.address(),
                                      .d = data.d.address()},
                                     candidates);
}

/// Runs `work` once into a D full of NaN, and compares.
template <typename Work>
Result<double> error_of(gpu::Device& device, const gemm::GemmSpec& spec, const OnDevice& data,
                        const gemm::GemmArgs& host, std::vector<std::byte>& d, Work work) {
  TRY(device.fill(data.d.address(), 0xff, data.d.size(), nullptr));
  TRY(work());
  TRY(device.copy_out(d, data.d.address(), nullptr));
  return worst_error(spec, host);
}

Result<Line> time_on_gpu(gpu::Device& device, const BenchProduct& product, int repeats) {
  const gemm::Plan plan = TRY(gemm::Context::on(&device).plan(gpu_spec(product)));
  const gemm::GemmSpec& spec = plan.spec();
  const BenchInputs inputs(spec, 11);
  std::vector<std::byte> d(inputs.d_bytes);
  const gemm::GemmArgs host = inputs.args(product, d);
  const OnDevice data = TRY(OnDevice::make(device, inputs, product));
  const gpu::Buffer workspace = TRY(device.allocate(plan.workspace_bytes()));
  gemm::GemmArgs args = data.args();
  args.workspace = {reinterpret_cast<std::byte*>(workspace.address()), workspace.size()};
  const gpu::Buffer flush = TRY(device.allocate(device.info().emulated ? 0 : size_t{kFlushBytes}));

  const auto ours = [&] { return plan.run(args); };
  Line line{.name = product.name, .info = plan.explain()};
  line.error = TRY(error_of(device, spec, data, host, d, ours));
  Result<gemm::CublasltProduct> other = make_peer(device, spec, data);
  const auto theirs = [&] { return other->run(nullptr); };
  if (other) {
    line.peer = Peer{.error = TRY(error_of(device, spec, data, host, d, theirs))};
  } else {
    line.peer = Peer{.missing = other.error().message};
  }
  std::vector<double> times_us, peer_us;  // in turns: both meet the same clocks
  for (int i = 0; i < repeats + 1; ++i) {
    const double us = TRY(cold_us(device, flush, ours));
    if (i > 0) times_us.push_back(us);
    if (!other) continue;
    const double other_us = TRY(cold_us(device, flush, theirs));
    if (i > 0) peer_us.push_back(other_us);
  }
  line.time_us = median(times_us);
  if (other) line.peer->time_us = median(peer_us);
  return line;
}

// ---------------------------------------------------------------- the command

nlohmann::ordered_json json_of(const Line& line) {
  nlohmann::ordered_json out = {{"name", line.name},
                                {"kernel", line.info.kernel},
                                {"time_us", line.time_us},
                                {"limit_us", line.info.limit_us},
                                {"of_limit", line.info.limit_us / line.time_us},
                                {"predicted_us", line.info.predicted_us},
                                {"tflops", 1e-6 * line.info.flops / line.time_us},
                                {"gb_per_s", 1e-3 * line.info.bytes / line.time_us},
                                {"error", line.error}};
  if (!line.peer) return out;
  if (line.peer->missing.empty()) {
    out["peer"] = {{"time_us", line.peer->time_us},
                   {"error", line.peer->error},
                   {"speedup", line.peer->time_us / line.time_us}};
  } else {
    out["peer"] = {{"missing", line.peer->missing}};
  }
  return out;
}

void print_lines(const std::vector<Line>& lines, Terminal& terminal) {
  const bool has_peer = std::ranges::any_of(
      lines, [](const Line& line) { return line.peer && line.peer->missing.empty(); });
  Table table;
  std::vector<std::string> head = {"m x n x k",    "us",      "limit us", "of limit",
                                   "predicted us", "TFLOP/s", "GB/s",     "error"};
  if (has_peer) head.insert(head.end(), {"cuBLASLt us", "faster by"});
  table.add(head);
  for (const Line& line : lines) {
    const double us = line.time_us;
    std::vector<std::string> row = {line.name,
                                    fmt::format("{:.1f}", us),
                                    fmt::format("{:.1f}", line.info.limit_us),
                                    fmt::format("{:.1f} %", 100 * line.info.limit_us / us),
                                    fmt::format("{:.1f}", line.info.predicted_us),
                                    fmt::format("{:.3g}", 1e-6 * line.info.flops / us),
                                    fmt::format("{:.4g}", 1e-3 * line.info.bytes / us),
                                    fmt::format("{:.1e}", line.error)};
    if (has_peer && line.peer && line.peer->missing.empty()) {
      row.push_back(fmt::format("{:.1f}", line.peer->time_us));
      row.push_back(fmt::format("{:.2f}", line.peer->time_us / us));
    } else if (has_peer) {
      row.insert(row.end(), {"-", "-"});
    }
    table.add(row);
  }
  terminal.print(table.text());
}

struct BenchArgs {
  std::string device = "cpu", list = "forward";
  int m = 0, n = 0, k = 0, threads = 0, repeats = 9;
  bool int8 = false, json = false;
};

Result<std::vector<BenchProduct>> wanted(const BenchArgs& args) {
  const int given = (args.m > 0) + (args.n > 0) + (args.k > 0);
  if (given == 0) return bench_products(args.list);
  if (given == 3) return std::vector{bench_product(args.m, args.n, args.k)};
  return fail(Code::kInvalidArgument, "-m, -n and -k are given together, or none of them");
}

void print_answer(const BenchArgs& args, const std::vector<Line>& lines, bool right, double allowed,
                  Terminal& terminal) {
  if (args.json) {
    nlohmann::ordered_json out = {{"backend", lines[0].info.backend}, {"right", right}};
    for (const Line& line : lines) out["products"].push_back(json_of(line));
    terminal.print(out.dump() + "\n");
    return;
  }
  terminal.print(lines[0].info.backend + ", e4m3 with scales per 1x128 and 128x128, bf16 out" +
                 (args.int8 ? ", in int8 mode\n" : "\n"));
  print_lines(lines, terminal);
  if (lines[0].peer && !lines[0].peer->missing.empty()) {
    terminal.print("no peer: " + lines[0].peer->missing + "\n");
  }
  if (!right) terminal.print(fmt::format("WRONG: an error is over {:.1e}\n", allowed));
}

Result<ExitCode> bench_command(const BenchArgs& args, Terminal& terminal) {
  std::vector<BenchProduct> products = TRY(wanted(args));
  for (BenchProduct& product : products) product.spec.int8 = args.int8;
  std::unique_ptr<gpu::Device> device;
  if (args.device == "gpu") {
    device = TRY(gpu::open_device(0));
  } else if (args.device == "emulator") {
    device = gpu::emulate({.seed = 1});
  } else if (args.device != "cpu") {
    return fail(Code::kInvalidArgument,
                fmt::format("--device: {} is not one of cpu, emulator, gpu", args.device));
  }
  const gemm::Context context = TRY(gemm::Context::cpu({.threads = args.threads}));
  const double allowed = args.device == "gpu" ? 0x1p-11 : 0x1p-20;  // of hardware sums, of float32
  std::vector<Line> lines;
  bool right = true;
  for (const BenchProduct& product : products) {
    lines.push_back(
        TRY(in(product.name, device != nullptr ? time_on_gpu(*device, product, args.repeats)
                                               : time_on_cpu(context, product, args.repeats))));
    right = right && lines.back().error <= allowed;  // false for NaN, too
  }
  print_answer(args, lines, right, allowed, terminal);
  return right ? 0 : 1;
}

}  // namespace

void add_gemm_bench(Command& gemm) {
  const auto args = std::make_shared<BenchArgs>();
  Command command = gemm.add("bench", "Time products against the machine's limit and cuBLASLt");
  command.text("--device", args->device,
               "Where: cpu, gpu, or emulator (whose times mean nothing for a GPU)",
               "cpu|emulator|gpu");
  command.text("--list", args->list, "Which products of DeepSeek-V3",
               "forward|grouped|masked|wgrad");
  command.integer("-m", args->m, "Rows of A, instead of a list");
  command.integer("-n", args->n, "Rows of B");
  command.integer("-k", args->k, "Depth");
  command.integer("--repeats", args->repeats, "Runs, of which the median is shown", 1);
  command.integer("--threads", args->threads, "Threads of the CPU; 0: all cores");
  command.flag("--int8", args->int8, "In int8 mode");
  command.flag("--json", args->json, "Print JSON");
  command.run([args](Terminal& terminal) { return bench_command(*args, terminal); });
}

}  // namespace hadal::cli
