// The scores of mqa_logits.h on a Hopper GPU: chooses the smallest kernel that has the heads and
// the depth, cuts keys into chunks so that every multiprocessor has work, and launches once.
#include "gemm/mqa_gpu.h"

#include <algorithm>
#include <numeric>
#include <string>

#include <fmt/core.h>

#include "gemm/mqa_plan.h"
#include "gemm/sm90/mqa_logits.cuh"
#include "gemm/spec.h"
#include "gpu/device/entry.h"
#include "tensor/dtype.h"

namespace hadal::gemm {
namespace {

using sm90::MqaConfig;
using sm90::MqaParameters;

template <uint32_t kHeads, uint32_t kDepth>
void add(std::vector<MqaKernel>& out) {
  using C = MqaConfig<kHeads, kDepth>;
  const std::string name = fmt::format("mqa_logits_{}x{}", kHeads, kDepth);
  const std::string type = fmt::format(
      "hadal::gemm::sm90::mqa_logits<hadal::gemm::sm90::MqaConfig<{}, {}>>", kHeads, kDepth);
  out.push_back(
      {.heads = kHeads,
       .depth = kDepth,
       .queries = C::kQueries,
       .keys = C::kKeys,
       .stages = C::kStages,
       .source = {.name = name,
                  .text = gpu::entry_text({.name = name,
                                           .header = "gemm/sm90/mqa_logits.cuh",
                                           .kernel = type,
                                           .parameters = "hadal::gemm::sm90::MqaParameters",
                                           .threads = C::kThreads}),
                  .parameter_bytes = sizeof(MqaParameters),
                  .threads = C::kThreads,
                  .shared_bytes = C::kSharedBytes,
                  .emulated = &gpu::run_thread<MqaParameters, sm90::mqa_logits<C>>}});
}

template <uint32_t kDepth>
void add_depth(std::vector<MqaKernel>& out) {
  add<32, kDepth>(out);
  add<64, kDepth>(out);
  add<128, kDepth>(out);
}

std::vector<MqaKernel> make_kernels() {
  std::vector<MqaKernel> out;
  add_depth<64>(out);
  add_depth<128>(out);
  add_depth<256>(out);
  return out;
}

constexpr int64_t kUnitsPerSm = 8;
constexpr int64_t kChunkTilesMax = 64;  // of keys in a unit
constexpr double kClockHz = 1.755e9;    // where the device does not say
constexpr double kMemoryBytesPerS = 4.8e12;
constexpr double kFlopsPerClock = 8192;  // of an SM's tensor cores
constexpr double kLaunchSeconds = 3e-6;

class GpuMqaPlan final : public MqaPlan::Impl {
 public:
  GpuMqaPlan(const MqaSpec& given, gpu::Device* device, const MqaKernel& kernel,
             const gpu::Kernel* loaded)
      : device_(device), kernel_(kernel), loaded_(loaded) {
    spec = given;
    fill_constants();
    explain();
  }
  Result<> run(const MqaArgs& args, gpu::Stream stream) const override;

 private:
  void fill_constants();
  void explain();
  Result<> encode_maps(const MqaArgs& args, MqaParameters& p) const;

  gpu::Device* device_;
  const MqaKernel& kernel_;  // of the catalog
  const gpu::Kernel* loaded_;
  MqaParameters constants_ = {};
};

void GpuMqaPlan::fill_constants() {
  const auto i32 = [](int64_t x) { return static_cast<int32_t>(x); };
  MqaParameters& p = constants_;
  p.stride = spec.stride;
  p.block_bytes = block_bytes(spec);
  p.queries = i32(spec.queries);
  p.heads = spec.heads;
  p.depth = spec.head_dim;
  p.keys = i32(keys_max(spec));
  p.columns = i32(spec.columns);
  p.next_n = spec.paged ? spec.next_n : std::max(p.queries, 1);
  p.request_tiles = i32(ceil_div(p.next_n, kernel_.queries));
  p.tiles = p.queries / p.next_n * p.request_tiles;
  const int64_t key_tiles =
      std::max<int64_t>(ceil_div(std::max(spec.keys, spec.columns), kernel_.keys), 1);
  const int64_t units = kUnitsPerSm * std::max(device_->info().num_sms, 1);
  const int64_t wanted = std::max<int64_t>(key_tiles * p.tiles / units, 1);
  p.chunk = i32(kernel_.keys * std::min({wanted, key_tiles, kChunkTilesMax}));
  p.chunks = i32(ceil_div(key_tiles * kernel_.keys, p.chunk));
  p.block_size = spec.block_size;
  p.max_blocks = i32(spec.max_blocks);
  p.num_blocks = i32(spec.num_blocks);
  p.piece = spec.paged ? std::gcd(spec.block_size, 64) : 64;
  p.ends_per_query = spec.length_per_query;
  p.compressed = spec.compressed && !spec.paged;
  p.clean = spec.clean;
  p.bf16 = spec.type == DType::kBf16;
}

void GpuMqaPlan::explain() {
  const gpu::DeviceInfo& device = device_->info();
  describe_work(spec, info);
  info.backend = device.name;
  info.kernel =
      fmt::format("{}: {} queries x {} keys, {} stages, chunks of {} keys", kernel_.source.name,
                  kernel_.queries, kernel_.keys, kernel_.stages, constants_.chunk);
  info.tile_m = kernel_.queries;
  info.tile_n = kernel_.keys;
  info.tile_k = kernel_.depth;
  info.stages = kernel_.stages;
  info.tiles = int64_t{constants_.tiles} * constants_.chunks;
  info.waves = static_cast<double>(info.tiles) / std::max(device.num_sms, 1);
  const double clock_hz = device.clock_khz > 0 ? 1e3 * device.clock_khz : kClockHz;
  const double bytes_per_s = device.memory_bytes_per_s > 0
                                 ? static_cast<double>(device.memory_bytes_per_s)
                                 : kMemoryBytesPerS;
  const double memory = info.bytes / bytes_per_s;
  const double peak = kFlopsPerClock * clock_hz * std::max(device.num_sms, 1);
  info.limit_us = 1e6 * std::max(info.flops / peak, memory);
  // Padded heads, depth and queries cost as much as real ones.
  const double padded = static_cast<double>(constants_.tiles) * kernel_.queries * kernel_.heads *
                        kernel_.depth * 2 * static_cast<double>(spec.keys);
  info.predicted_us = 1e6 * (kLaunchSeconds + std::max(padded / peak, memory));
}

Result<> check_pointer(std::string_view name, const void* pointer, size_t alignment) {
  const auto at = reinterpret_cast<uintptr_t>(pointer);
  if (at % alignment == 0) return {};
  return fail(Code::kInvalidArgument,
              fmt::format("{} is at {:#x}; it must be aligned to {}", name, at, alignment));
}

Result<> GpuMqaPlan::encode_maps(const MqaArgs& args, MqaParameters& p) const {
  const auto width = static_cast<uint32_t>(std::min(kernel_.depth, 128));
  const gpu::Swizzle swizzle = width == 64 ? gpu::Swizzle::k64 : gpu::Swizzle::k128;
  const auto depth = static_cast<uint64_t>(spec.head_dim);
  const auto heads = static_cast<uint64_t>(spec.heads);
  p.map_q = TRY(device_->encode(
      {.address = reinterpret_cast<gpu::Address>(args.q),
       .rank = 3,
       .dims = {depth, heads, static_cast<uint64_t>(spec.queries)},
       .strides_bytes = {depth, heads * depth},
       .box = {width, static_cast<uint32_t>(kernel_.heads), static_cast<uint32_t>(kernel_.queries)},
       .swizzle = swizzle}));
  const bool any = keys_max(spec) > 0;  // else nothing is loaded, but a map wants an address
  const auto keys = static_cast<uint64_t>(spec.paged ? spec.block_size : std::max(p.keys, 1));
  p.map_k = TRY(device_->encode(
      {.address = reinterpret_cast<gpu::Address>(any ? args.kv : args.q),
       .rank = 3,
       .dims = {depth, keys, static_cast<uint64_t>(spec.paged ? spec.num_blocks : 1)},
       .strides_bytes = {depth, spec.paged ? static_cast<uint64_t>(p.block_bytes) : depth},
       .box = {width, static_cast<uint32_t>(p.piece), 1},
       .swizzle = swizzle}));
  return {};
}

Result<> GpuMqaPlan::run(const MqaArgs& args, gpu::Stream stream) const {
  TRY(check_args(spec, args, 0));
  TRY(check_pointer("q", args.q, 16));
  TRY(check_pointer("kv", args.kv, 16));
  TRY(check_pointer("kv_scale", args.kv_scale, 4));
  TRY(check_pointer("weights", args.weights, 4));
  TRY(check_pointer("logits", args.logits, size_bytes(spec.type)));
  MqaParameters p = constants_;
  TRY(encode_maps(args, p));
  p.weights = args.weights;
  p.cache = static_cast<const uint8_t*>(args.kv);
  p.kv_scale = args.kv_scale;
  p.ks = args.ks;
  p.ends = spec.paged ? args.context_lens : args.ke;
  p.table = spec.paged ? args.block_table : nullptr;
  p.logits = args.logits;
  const int64_t grid = std::min<int64_t>(device_->info().num_sms, info.tiles);
  const gpu::Launch launch = {.grid = {static_cast<uint32_t>(std::max<int64_t>(grid, 1))},
                              .block = {static_cast<uint32_t>(kernel_.source.threads)},
                              .cluster = {},
                              .shared_bytes = static_cast<uint32_t>(kernel_.source.shared_bytes)};
  return device_->launch(*loaded_, launch, std::as_bytes(std::span(&p, 1)), stream);
}

}  // namespace

const std::vector<MqaKernel>& mqa_kernels() {
  static const std::vector<MqaKernel> kernels = make_kernels();
  return kernels;
}

Result<std::shared_ptr<const MqaPlan::Impl>> plan_mqa_gpu(const MqaSpec& spec,
                                                          gpu::Device* device) {
  for (const MqaKernel& kernel : mqa_kernels()) {
    if (kernel.heads < spec.heads || kernel.depth < spec.head_dim) continue;
    const gpu::Kernel* const loaded = TRY(device->load(kernel.source));
    return std::make_shared<const GpuMqaPlan>(spec, device, kernel, loaded);
  }
  return fail(Code::kInternal, "no kernel has the heads and the depth of the spec");
}

}  // namespace hadal::gemm
