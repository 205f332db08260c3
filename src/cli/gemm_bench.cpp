// hadal gemm bench: products of the sizes of DeepSeek-V3's layers, their time, and how near it is
// to what the machine allows. Every answer is checked before its time is shown.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/rng.h"
#include "cli/commands.h"
#include "cli/terminal.h"
#include "gemm/check.h"
#include "gemm/reference.h"
#include "gemm/spec.h"

namespace hadal::cli {
namespace {

constexpr int64_t kFlushBytes = int64_t{256} << 20;  // more than any cache holds
constexpr int kSampled = 64;                         // elements that are checked

struct Shape {
  int64_t m = 0, n = 0, k = 0;
};

/// The dense products of a forward pass (n, k), each with one token, 128 and 4096.
std::vector<Shape> forward_shapes() {
  constexpr int64_t kNk[][2] = {{2112, 7168},  {576, 7168},  {24576, 1536}, {32768, 512},
                                {7168, 16384}, {4096, 7168}, {7168, 2048}};
  std::vector<Shape> out;
  for (const int64_t m : {1, 64, 128, 4096}) {
    for (const auto& [n, k] : kNk) out.push_back({m, n, k});
  }
  return out;
}

/// Random finite codes and scales of a spec whose operands are e4m3.
struct Inputs {
  std::vector<std::byte> a, b;
  std::vector<float> a_scale, b_scale;
};

std::vector<std::byte> random_codes(int64_t count, Rng& rng) {
  std::vector<std::byte> out(gemm::round_up(count, 8));
  for (size_t i = 0; i < out.size(); i += 8) {
    // 0x7f and 0xff are NaN: a clear bit in each byte's exponent keeps codes below 32.
    const uint64_t bits = rng.next() & 0xbfbfbfbfbfbfbfbf;
    std::memcpy(out.data() + i, &bits, 8);
  }
  out.resize(count);
  return out;
}

std::vector<float> random_scales(int64_t count, Rng& rng) {
  std::vector<float> out(count);
  for (float& x : out) x = 0.5f + static_cast<float>(rng.below(1024)) / 1024;
  return out;
}

Inputs make_inputs(const gemm::GemmSpec& spec) {
  Rng rng(11);
  return {.a = random_codes(spec.m * spec.a.stride, rng),
          .b = random_codes(spec.n * spec.b.stride, rng),
          .a_scale = random_scales(gemm::scale_elements(spec.a.scale, spec.m, spec.k), rng),
          .b_scale = random_scales(gemm::scale_elements(spec.b.scale, spec.n, spec.k), rng)};
}

/// The largest error of the sampled elements beyond that of int8 mode and of the rounding of D,
/// relative to the sum of magnitudes of their terms.
double worst_error(const gemm::GemmSpec& spec, const Inputs& inputs, std::vector<std::byte>& d) {
  const gemm::GemmArgs args = {.a = inputs.a.data(),
                               .a_scale = inputs.a_scale.data(),
                               .b = inputs.b.data(),
                               .b_scale = inputs.b_scale.data(),
                               .d = d.data()};
  gemm::Oracle oracle(spec, args);
  Rng rng(5);
  double worst = 0;
  for (int i = 0; i < kSampled; ++i) {
    const int64_t row = i == 0 ? spec.m - 1 : static_cast<int64_t>(rng.below(spec.m));
    const int64_t column = i == 0 ? spec.n - 1 : static_cast<int64_t>(rng.below(spec.n));
    const gemm::RowUse use = {.d_row = row, .a_row = row, .k_end = spec.k};
    const gemm::Exact want = oracle.at(use, column);
    const double error = std::abs(gemm::output_at(spec, args, use, column) - want.value);
    // A bf16 result is off by half a unit in the last place at least.
    const double rounding = 0x1p-8 * (std::abs(want.value) + want.int8_error) + want.int8_error;
    worst = std::max(worst, std::max(0.0, error - rounding) / std::max(want.magnitude, 1e-30));
    if (std::isnan(error)) return error;
  }
  return worst;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

struct Line {
  Shape shape;
  gemm::PlanInfo info;
  double time_us = 0;  // median
  double error = 0;
};

// ---------------------------------------------------------------- on the CPU

Result<Line> time_on_cpu(const gemm::Context& context, const Shape& shape, int repeats, bool int8) {
  const gemm::Plan plan = TRY(context.plan({.m = shape.m,
                                            .n = shape.n,
                                            .k = shape.k,
                                            .b = {.scale = {.block = kPer128x128}, .packed = true},
                                            .int8 = int8}));
  const gemm::GemmSpec& spec = plan.spec();
  const Inputs inputs = make_inputs(spec);
  gemm::AlignedBytes packed(TRY(context.packed_b_bytes(spec)));
  TRY(context.pack_b(spec, inputs.b.data(), inputs.b_scale.data(), packed.span()));
  gemm::AlignedBytes workspace(plan.workspace_bytes());
  std::vector<std::byte> d(2 * shape.m * shape.n);
  const gemm::GemmArgs args = {.a = inputs.a.data(),
                               .a_scale = inputs.a_scale.data(),
                               .b = packed.span().data(),
                               .d = d.data(),
                               .workspace = workspace.span()};
  const RealClock clock;
  std::vector<double> times_us;
  for (int i = 0; i < repeats + 1; ++i) {
    const int64_t start_ns = clock.now_ns();
    TRY(plan.run(args));
    if (i > 0) times_us.push_back(1e-3 * static_cast<double>(clock.now_ns() - start_ns));
  }
  gemm::GemmSpec plain = spec;
  plain.b.packed = false;
  return Line{shape, plan.explain(), median(times_us), worst_error(plain, inputs, d)};
}

// ---------------------------------------------------------------- on a GPU

struct GpuWork {
  const gemm::Plan* plan;
  const gemm::GemmArgs* args;
  Result<> result = {};
};

Result<gpu::Buffer> upload(gpu::Device& device, std::span<const std::byte> bytes) {
  gpu::Buffer buffer = TRY(device.allocate(bytes.size()));
  TRY(device.copy_in(buffer.address(), bytes, nullptr));
  return buffer;
}

Result<Line> time_on_gpu(gpu::Device& device, const Shape& shape, int repeats, bool int8) {
  const gemm::Plan plan = TRY(
      gemm::Context::on(&device).plan({.m = shape.m, .n = shape.n, .k = shape.k, .int8 = int8}));
  const gemm::GemmSpec& spec = plan.spec();
  const Inputs inputs = make_inputs(spec);
  const gpu::Buffer a = TRY(upload(device, inputs.a));
  const gpu::Buffer b = TRY(upload(device, inputs.b));
  const gpu::Buffer a_scale = TRY(upload(device, std::as_bytes(std::span(inputs.a_scale))));
  const gpu::Buffer b_scale = TRY(upload(device, std::as_bytes(std::span(inputs.b_scale))));
  const gpu::Buffer d = TRY(device.allocate(2 * shape.m * shape.n));
  const gpu::Buffer flush = TRY(device.allocate(kFlushBytes));
  const auto at = [](const gpu::Buffer& buffer) {
    return reinterpret_cast<void*>(buffer.address());
  };
  const gemm::GemmArgs args = {
      .a = at(a), .a_scale = at(a_scale), .b = at(b), .b_scale = at(b_scale), .d = at(d)};
  GpuWork work = {.plan = &plan, .args = &args};
  std::vector<double> times_us;
  for (int i = 0; i < repeats + 1; ++i) {
    TRY(device.fill(flush.address(), static_cast<uint8_t>(i), kFlushBytes, nullptr));
    const double ms = TRY(device.time_ms(
        nullptr,
        [](void* context) {
          auto* const w = static_cast<GpuWork*>(context);
          w->result = w->plan->run(*w->args);
        },
        &work));
    TRY(std::move(work.result));
    if (i > 0) times_us.push_back(1e3 * ms);
  }
  std::vector<std::byte> out(2 * shape.m * shape.n);
  TRY(device.copy_out(out, d.address(), nullptr));
  return Line{shape, plan.explain(), median(times_us), worst_error(spec, inputs, out)};
}

// ---------------------------------------------------------------- the command

nlohmann::ordered_json json_of(const Line& line) {
  return {{"m", line.shape.m},
          {"n", line.shape.n},
          {"k", line.shape.k},
          {"kernel", line.info.kernel},
          {"time_us", line.time_us},
          {"limit_us", line.info.limit_us},
          {"of_limit", line.info.limit_us / line.time_us},
          {"predicted_us", line.info.predicted_us},
          {"tflops", 1e-6 * line.info.flops / line.time_us},
          {"gb_per_s", 1e-3 * line.info.bytes / line.time_us},
          {"error", line.error}};
}

void print_lines(const std::vector<Line>& lines, Terminal& terminal) {
  Table table;
  table.add({"m n k", "us", "limit us", "of limit", "predicted us", "TFLOP/s", "GB/s", "error"});
  for (const Line& line : lines) {
    const double us = line.time_us;
    table.add({fmt::format("{} {} {}", line.shape.m, line.shape.n, line.shape.k),
               fmt::format("{:.1f}", us), fmt::format("{:.1f}", line.info.limit_us),
               fmt::format("{:.1f} %", 100 * line.info.limit_us / us),
               fmt::format("{:.1f}", line.info.predicted_us),
               fmt::format("{:.3g}", 1e-6 * line.info.flops / us),
               fmt::format("{:.4g}", 1e-3 * line.info.bytes / us),
               fmt::format("{:.1e}", line.error)});
  }
  terminal.print(table.text());
}

struct BenchArgs {
  std::string device = "cpu";
  int m = 0, n = 0, k = 0, threads = 0, repeats = 9;
  bool int8 = false, json = false;
};

Result<ExitCode> bench_command(const BenchArgs& args, Terminal& terminal) {
  std::vector<Shape> shapes = forward_shapes();
  const int given = (args.m > 0) + (args.n > 0) + (args.k > 0);
  if (given != 0 && given != 3) {
    return fail(Code::kInvalidArgument, "-m, -n and -k are given together, or none of them");
  }
  if (given == 3) shapes = {{args.m, args.n, args.k}};
  if (args.device != "cpu" && args.device != "gpu") {
    return fail(Code::kInvalidArgument,
                fmt::format("--device: {} is not one of cpu, gpu", args.device));
  }
  const bool on_gpu = args.device == "gpu";
  const std::unique_ptr<gpu::Device> device = on_gpu ? TRY(gpu::open_device(0)) : nullptr;
  const gemm::Context context =
      on_gpu ? gemm::Context::on(device.get()) : TRY(gemm::Context::cpu({.threads = args.threads}));
  const double allowed = on_gpu ? 0x1p-11 : 0x1p-20;  // of hardware sums, of float32
  std::vector<Line> lines;
  bool right = true;
  for (const Shape& shape : shapes) {
    lines.push_back(TRY(in(fmt::format("{} x {} x {}", shape.m, shape.n, shape.k),
                           on_gpu ? time_on_gpu(*device, shape, args.repeats, args.int8)
                                  : time_on_cpu(context, shape, args.repeats, args.int8))));
    right = right && lines.back().error <= allowed;  // false for NaN, too
  }
  if (args.json) {
    nlohmann::ordered_json out = {{"backend", lines[0].info.backend}, {"right", right}};
    for (const Line& line : lines) out["products"].push_back(json_of(line));
    terminal.print(out.dump() + "\n");
  } else {
    terminal.print(lines[0].info.backend + ", e4m3 with scales per 1x128 and 128x128, bf16 out" +
                   (args.int8 ? ", in int8 mode\n" : "\n"));
    print_lines(lines, terminal);
    if (!right) terminal.print(fmt::format("WRONG: an error is over {:.1e}\n", allowed));
  }
  return right ? 0 : 1;
}

}  // namespace

void add_gemm_bench(Command& gemm) {
  const auto args = std::make_shared<BenchArgs>();
  Command command = gemm.add("bench", "Time products against the machine's limit");
  command.text("--device", args->device, "Where: cpu or gpu", "cpu|gpu");
  command.integer("-m", args->m, "Rows of A (default: a list of shapes)");
  command.integer("-n", args->n, "Rows of B");
  command.integer("-k", args->k, "Depth");
  command.integer("--repeats", args->repeats, "Runs, of which the median is shown", 1);
  command.integer("--threads", args->threads, "Threads of the CPU; 0: all cores");
  command.flag("--int8", args->int8, "In int8 mode");
  command.flag("--json", args->json, "Print JSON");
  command.run([args](Terminal& terminal) { return bench_command(*args, terminal); });
}

}  // namespace hadal::cli
