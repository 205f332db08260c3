#include "trace/generate_write.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include <fmt/core.h>

namespace hadal::trace::gen {
namespace {

constexpr size_t kFlushBytes = size_t{1} << 20;
constexpr int64_t kEpochNs = 1'740'461'679'470'630'000;              // when train.json was taken
constexpr int64_t kBaseStepNs = int64_t{7'889'238} * 1'000'000'000;  // G3: three months
constexpr int64_t kWeekNs = int64_t{604'800} * 1'000'000'000;
constexpr int64_t kOverrunNs = 5'000'000;
constexpr int kNumDevices = 8;
constexpr int64_t kPid = 1166;

// Threads of a block as cuda_occupancy counts them, and what fits on an SM by the profiler's belief
// that 48 KiB of shared memory is all (which is why its figure is 0 for big kernels).
struct Occupancy {
  int64_t by_warps, by_blocks, by_registers, by_shared_memory, active;
  int64_t registers_per_block, shared_memory_per_block;
  float blocks_per_sm, warps_per_sm;
  int64_t percent;
};

Occupancy occupancy(const KernelSpec& k) {
  Occupancy o{};
  const int64_t threads = int64_t{k.block[0]} * k.block[1] * k.block[2];
  const int64_t blocks = int64_t{k.grid[0]} * k.grid[1] * k.grid[2];
  const int64_t warps = (threads + 31) / 32;
  const int64_t warp_registers = (int64_t{k.registers} * 32 + 255) / 256 * 256;
  o.by_warps = 64 / warps;
  o.by_blocks = 32;
  o.by_registers = warp_registers == 0 ? 32 : (16'384 / warp_registers) * 4 / warps;
  o.shared_memory_per_block = (int64_t{k.shared_memory} + 1024 + 127) / 128 * 128;
  o.by_shared_memory = k.shared_memory > 49'152 ? 0 : 233'472 / o.shared_memory_per_block;
  o.registers_per_block = warp_registers * warps;
  o.active = std::min({o.by_warps, o.by_blocks, o.by_registers, o.by_shared_memory});
  o.blocks_per_sm = static_cast<float>(blocks) / kNumSms;
  o.warps_per_sm = o.blocks_per_sm * (static_cast<float>(threads) / 32);
  o.percent = std::lround(100 * std::min(static_cast<double>(o.active), double{o.blocks_per_sm}) *
                          static_cast<double>(threads) / 2048);
  return o;
}

std::string occupancy_object(const Occupancy& o) {
  const std::pair<int64_t, std::string_view> limits[] = {{o.by_warps, "warps"},
                                                         {o.by_registers, "registers"},
                                                         {o.by_shared_memory, "shared_mem"},
                                                         {o.by_blocks, "blocks"}};
  const auto least = std::min_element(std::begin(limits), std::end(limits));
  return fmt::format(
      ",\n      \"occupancy\": {{\"activeBlocksPerMultiprocessor\": {}, \"limitingFactors\": "
      "[\"{}\"], \"blockLimitRegs\": {}, \"blockLimitSharedMem\": {}, \"blockLimitWarps\": {}, "
      "\"blockLimitBlocks\": {}, \"blockLimitBarriers\": 32, \"allocatedRegistersPerBlock\": {}, "
      "\"allocatedSharedMemPerBlock\": {}}}",
      o.active, least->second, o.by_registers, o.by_shared_memory, o.by_warps, o.by_blocks,
      o.registers_per_block, o.shared_memory_per_block);
}

std::string kernel_tail(const KernelSpec& k, Format format, bool graph, bool not_a_number) {
  const Occupancy o = occupancy(k);
  std::string text = fmt::format(
      ",\n      \"registers per thread\": {},\n      \"shared memory\": {},\n      "
      "\"blocks per SM\": {},\n      \"warps per SM\": {},\n      \"grid\": [{}, {}, {}],\n      "
      "\"block\": [{}, {}, {}],\n      \"{} occupancy %\": {}",
      k.registers, k.shared_memory, not_a_number ? "inf" : fmt::format("{}", o.blocks_per_sm),
      not_a_number ? "inf" : fmt::format("{}", o.warps_per_sm), k.grid[0], k.grid[1], k.grid[2],
      k.block[0], k.block[1], k.block[2], format == Format::kG1 ? "theoretical" : "est. achieved",
      o.percent);
  if (format == Format::kG4) {
    text += occupancy_object(o);
    text += ",\n      \"priority\": 0, \"channel\": 9, \"channel_type\": \"COMPUTE\"";
    if (graph) text += ", \"graph id\": 11, \"graph node id\": 47244640257";
  }
  return text;
}

// What a damaged operator is called in the file.
std::string_view damaged_name(int8_t damage, std::string_view name) {
  if (damage == static_cast<int8_t>(FaultKind::kUnescapedQuote)) {
    return "torch/_dynamo/eval_frame.py(\"inner\"): _fn";
  }
  if (damage == static_cast<int8_t>(FaultKind::kControl)) return "aten::\x01\x1f\tcopy_";
  if (damage == static_cast<int8_t>(FaultKind::kInvalidUtf8)) return "aten::\xff\xfe\xc3(copy_";
  return name;
}

}  // namespace

Layout::Layout(const Scenario& scenario) {
  const bool g1 = scenario.format == Format::kG1;
  const bool graph = scenario.schedule == Schedule::kInference;
  for (size_t i = 0; i < kernels.size(); ++i) {
    const KernelSpec& k = spec(static_cast<Kernel>(i));
    std::string_view category = g1 ? "Kernel" : "kernel";
    if (k.api == Api::kMemcpyAsync) category = g1 ? "Memcpy" : "gpu_memcpy";
    if (k.api == Api::kMemsetAsync) category = g1 ? "Memset" : "gpu_memset";
    kernels[i].head = fmt::format(
        "  {{\n    \"ph\": \"X\", \"cat\": \"{}\", \"name\": \"{}\", \"pid\": ", category, k.name);
    if (k.work == Work::kMemory) continue;
    kernels[i].tail = kernel_tail(k, scenario.format, graph, false);
    kernels[i].tail_not_a_number = kernel_tail(k, scenario.format, graph, true);
  }
  for (size_t i = 0; i < calls.size(); ++i) {
    const ApiSpec& api = spec(static_cast<Api>(i));
    const std::string_view category = g1 ? "Runtime" : api.driver ? "cuda_driver" : "cuda_runtime";
    calls[i] = fmt::format("  {{\n    \"ph\": \"X\", \"cat\": \"{}\", \"name\": \"{}\", \"pid\": ",
                           category, api.name);
  }
}

Writer::Writer(const Scenario& scenario, const Layout& layout, const Clock& clock, int rank,
               const Sink& sink)
    : scenario_(scenario),
      layout_(layout),
      clock_(clock),
      rank_(rank),
      sink_(sink),
      pid_(kPid + rank),
      device_(rank % kNumDevices),
      base_ns_(kEpochNs + clock.offset_ns),
      epoch_us_(scenario.format <= Format::kG2),
      g1_(scenario.format == Format::kG1) {
  if (!epoch_us_) base_ns_ -= kEpochNs - kEpochNs % kBaseStepNs;
}

void Writer::add(int64_t number) {
  char text[24];
  const auto end = std::to_chars(std::begin(text), std::end(text), number).ptr;
  out_.append(text, end);
}

void Writer::add(Us time) {
  if (epoch_us_) {
    add(time.ns / 1000);
    return;
  }
  add(time.ns / 1000);
  const auto rest = static_cast<int>(time.ns % 1000);
  const char text[] = {'.', static_cast<char>('0' + rest / 100),
                       static_cast<char>('0' + rest / 10 % 10), static_cast<char>('0' + rest % 10)};
  out_.append(text, sizeof text);
}

Writer::Us Writer::stamp(int64_t true_ns) const {
  return {base_ns_ + clock_.at(true_ns)};
}

Writer::Us Writer::lasted(int64_t start_ns, int64_t end_ns) const {
  return {clock_.at(end_ns) - clock_.at(start_ns)};
}

bool Writer::has(FaultKind kind) const {
  return std::any_of(scenario_.faults.begin(), scenario_.faults.end(), [&](const Fault& f) {
    return f.kind == kind && (f.rank < 0 || f.rank == rank_);
  });
}

Result<> Writer::flush() {
  TRY(sink_(out_));
  flushed_ += static_cast<int64_t>(out_.size());
  out_.clear();
  return {};
}

// --- head and tail of the file ------------------------------------------------------------------

void Writer::write_properties() {
  put("\n{\n  \"schemaVersion\": 1,\n  \"deviceProperties\": [\n");
  for (int64_t id = 0; id < kNumDevices; ++id) {
    put("    {\n      \"id\": ", id,
        ", \"name\": \"NVIDIA H800\", \"totalGlobalMem\": 84943110144,\n"
        "      \"computeMajor\": 9, \"computeMinor\": 0,\n"
        "      \"maxThreadsPerBlock\": 1024, \"maxThreadsPerMultiprocessor\": 2048,\n"
        "      \"regsPerBlock\": 65536, \"regsPerMultiprocessor\": 65536, \"warpSize\": 32,\n"
        "      \"sharedMemPerBlock\": 49152, \"sharedMemPerMultiprocessor\": 233472,\n"
        "      \"numSms\": 132, \"sharedMemPerBlockOptin\": 232448\n    }",
        id + 1 < kNumDevices ? ",\n" : "\n");
  }
  put("  ],\n");
}

void Writer::write_distributed() {
  const int64_t world = scenario_.ranks;
  put("  \"distributedInfo\": {\"backend\": \"nccl\", \"rank\": ", rank_,
      ", \"world_size\": ", world);
  if (!epoch_us_) {
    put(", \"pg_count\": 1, \"pg_config\": [{\"pg_name\": \"0\", \"pg_desc\": \"default_pg\", "
        "\"backend_config\": \"cuda:nccl\", \"pg_size\": ",
        world, ", \"ranks\": [");
    for (int64_t r = 0; r < world; ++r) put(r > 0 ? ", " : "", r);
    put("]}], \"nccl_version\": \"2.21.5\"");
  }
  put("}");
}

void Writer::begin() {
  out_.reserve(kFlushBytes + kFlushBytes / 4);
  if (has(FaultKind::kBareArray) || has(FaultKind::kUnfinishedArray)) {
    put("[\n");
    return;
  }
  write_properties();
  if (!has(FaultKind::kNoRank) && !has(FaultKind::kLateMetadata)) {
    write_distributed();
    put(",\n");
  }
  if (!epoch_us_) {
    put("  \"displayTimeUnit\": \"ms\",\n  \"baseTimeNanoseconds\": ",
        kEpochNs - kEpochNs % kBaseStepNs, ",\n");
  }
  put("  \"traceEvents\": [\n");
}

void Writer::write_metadata(std::string_view what, int64_t pid, std::string_view tid_text,
                            int64_t tid, std::string_view key, std::string_view value,
                            bool quoted) {
  const std::string_view quote = quoted ? "\"" : "";
  put("  {\n    \"name\": \"", what, "\", \"ph\": \"M\", \"ts\": ", stamp(0), ", \"pid\": ", pid,
      ", \"tid\": ");
  if (tid_text.empty()) {
    put(tid);
  } else {
    put("\"", tid_text, "\"");
  }
  put(",\n    \"args\": {\n      \"", key, "\": ", quote, value, quote, "\n    }\n  },\n");
  ++counts_.metadata;
}

void Writer::write_names() {
  const auto process = [&](int64_t pid, std::string_view label, int64_t order) {
    write_metadata("process_name", pid, "", 0, "name", "python3", true);
    write_metadata("process_labels", pid, "", 0, "labels", label, true);
    write_metadata("process_sort_index", pid, "", 0, "sort_index", fmt::format("{}", order), false);
  };
  process(pid_, "CPU", pid_);
  for (int64_t id = 0; id < kNumDevices; ++id) {
    process(id, fmt::format("GPU {}", id), 16'777'216 + id);
  }
  for (const int64_t stream : kStreamIds) {
    const std::string name = fmt::format("stream {}", stream);
    const std::string_view tid = g1_ ? std::string_view(name) : std::string_view();
    write_metadata("thread_name", device_, tid, stream, "name", name + " ", true);
    write_metadata("thread_sort_index", device_, tid, stream, "sort_index",
                   fmt::format("{}", stream), false);
  }
  for (const bool autograd : {true, true, false}) {  // one of them twice, as in real files
    const int64_t tid = thread(autograd);
    write_metadata("thread_name", pid_, "", tid, "name", fmt::format("thread {} (python3)", tid),
                   true);
    write_metadata("thread_sort_index", pid_, "", tid, "sort_index", fmt::format("{}", tid), false);
  }
}

Result<> Writer::finish(const RankState& state) {
  if (has(FaultKind::kTruncated)) {
    truncated_at_ = bytes() + 2;  // of the brace
    put("  {\n    \"ph\": \"X\", \"cat\": \"cpu_op\", \"name\": \"aten::em");
    return flush();
  }
  write_names();
  int64_t end_ns = state.host_ns;
  put("  {\n    \"ph\": \"X\", \"cat\": \"Trace\", \"ts\": ", stamp(0),
      ", \"dur\": ", lasted(0, end_ns),
      ",\n    \"pid\": \"Spans\", \"tid\": \"PyTorch Profiler\",\n"
      "    \"name\": \"PyTorch Profiler (0)\",\n    \"args\": {\n      \"Op count\": 0\n    }\n"
      "  },\n  {\n    \"name\": \"process_sort_index\", \"ph\": \"M\", \"ts\": ",
      stamp(0),
      ",\n    \"pid\": \"Spans\", \"tid\": 0,\n    \"args\": {\n      \"sort_index\": 536870912\n"
      "    }\n  },\n  {\n    \"name\": \"Iteration Start: PyTorch Profiler\", \"ph\": \"i\", "
      "\"s\": \"g\",\n    \"pid\": \"Traces\", \"tid\": \"Trace PyTorch Profiler\", \"ts\": ",
      stamp(0),
      "\n  },\n  {\n    \"name\": \"Record Window End\", \"ph\": \"i\", \"s\": \"g\",\n"
      "    \"pid\": \"\", \"tid\": \"\", \"ts\": ",
      stamp(end_ns), "\n  }\n");
  ++counts_.metadata;
  counts_.other += 3;
  if (has(FaultKind::kUnfinishedArray)) return flush();
  if (has(FaultKind::kBareArray)) {
    put("]\n");
    return flush();
  }
  put("  ],\n");
  if (has(FaultKind::kLateMetadata) && !has(FaultKind::kNoRank)) {
    write_distributed();
    put(",\n");
  }
  put("  \"traceName\": \"traces/prof_", kScheduleNames[static_cast<size_t>(scenario_.schedule)],
      "_dp", int64_t{scenario_.ranks}, "_layers", int64_t{scenario_.layers}, ".json\"\n}");
  return flush();
}

// --- events -------------------------------------------------------------------------------------

Result<> Writer::write_step(const RankState& state, std::span<const RegionInfo> regions) {
  for (const Op& op : state.ops) {
    write_op(op);
    if (out_.size() >= kFlushBytes) TRY(flush());
  }
  for (const Call& call : state.calls) {
    for (uint32_t i = 0; i < call.num_work; ++i) {
      const WorkItem& item = state.work[call.first_work + i];
      if (!item.missing) write_work(item, call);
    }
    write_call(state, call);
    if (out_.size() >= kFlushBytes) TRY(flush());
  }
  if (!epoch_us_) write_gpu_annotations(state, regions);
  return {};
}

void Writer::write_op(const Op& op) {
  const int64_t tid = thread(op.autograd);
  switch (op.kind) {
    case OpKind::kCpuOp: write_cpu_op(op, damaged_name(op.damage, op.name)); return;
    case OpKind::kAnnotation:
    case OpKind::kStep:
      put("  {\n    \"ph\": \"X\", \"cat\": \"user_annotation\", \"name\": \"", op.name);
      if (op.kind == OpKind::kStep) put(int64_t{op.sequence});
      put("\", \"pid\": ", pid_, ", \"tid\": ", tid, ",\n    \"ts\": ", stamp(op.start_ns),
          ", \"dur\": ", lasted(op.start_ns, op.end_ns),
          ",\n    \"args\": {\n      \"External id\": ", int64_t{op.external_id},
          ",\"Ev Idx\": ", ev_index_++, "\n    }\n  },\n");
      ++counts_.user_annotation;
      return;
    case OpKind::kPython:
      put("  {\n    \"ph\": \"X\", \"cat\": \"python_function\", \"name\": \"", op.name,
          "\", \"pid\": ", pid_, ", \"tid\": ", tid, ",\n    \"ts\": ", stamp(op.start_ns),
          ", \"dur\": ", lasted(op.start_ns, op.end_ns),
          ",\n    \"args\": {\n      \"Python parent id\": null, \"Python id\": ",
          int64_t{op.external_id}, ", \"Ev Idx\": ", ev_index_++, "\n    }\n  },\n");
      ++counts_.python_function;
      return;
    case OpKind::kMemory:
      put("  {\n    \"ph\": \"i\", \"cat\": \"cpu_instant_event\", \"s\": \"t\", \"name\": "
          "\"[memory]\",\n    \"pid\": ",
          pid_, ", \"tid\": ", tid, ",\n    \"ts\": ", stamp(op.start_ns),
          ",\n    \"args\": {\n      \"Total Reserved\": 60129542144, \"Total Allocated\": "
          "51539607552, \"Bytes\": ",
          int64_t{op.sequence}, ", \"Addr\": 140148032667648, \"Device Id\": ", device_,
          ", \"Device Type\": 1, \"Ev Idx\": ", ev_index_++, "\n    }\n  },\n");
      ++counts_.memory_instant;
      return;
  }
}

void Writer::write_cpu_op(const Op& op, std::string_view name) {
  const bool zero = op.damage == static_cast<int8_t>(FaultKind::kZeroTimes);
  const bool quoted = op.damage == static_cast<int8_t>(FaultKind::kNumberStrings);
  const std::string_view quote = quoted ? "\"" : "";
  put("  {\n    \"ph\": \"X\", \"cat\": \"", g1_ ? "Operator" : "cpu_op", "\", \"name\": \"", name,
      "\", \"pid\": ", pid_, ", \"tid\": ", thread(op.autograd), ",\n    \"ts\": ", quote,
      zero ? Us{0} : stamp(op.start_ns), quote, ", \"dur\": ", quote,
      zero ? Us{0} : lasted(op.start_ns, op.end_ns), quote, ",\n    \"args\": {\n      ");
  write_op_args(op);
  if (op.damage == static_cast<int8_t>(FaultKind::kTrailingComma)) put(", ");
  put("\n    }\n  },\n");
  if (op.damage == static_cast<int8_t>(FaultKind::kUnescapedQuote)) {
    ++counts_.unreadable;
  } else {
    ++counts_.cpu_op;
  }
  if (op.sequence > 0 && !zero) write_sequence_flow(op);
}

void Writer::write_op_args(const Op& op) {
  put("\"External id\": ", int64_t{op.external_id}, ",");
  if (!epoch_us_) put("\"Record function id\": 0, ");
  if (scenario_.shapes) {
    put("\"Input type\": [\"c10::BFloat16\", \"c10::BFloat16\", \"\"], \"Input Dims\": [[4096, "
        "7168], [7168, 2048], []], ");
  }
  put("\"Ev Idx\": ", ev_index_++);
  if (op.sequence > 0) {
    put(", \"Fwd thread id\": ", int64_t{op.autograd},
        ", \"Sequence number\": ", int64_t{op.sequence});
  }
  if (op.damage == static_cast<int8_t>(FaultKind::kHugeInteger)) {
    put(", \"Comms Id\": 18374686479671623680");
  }
}

void Writer::write_sequence_flow(const Op& op) {
  put("  {\n    \"ph\": \"", op.autograd ? "f" : "s", "\", \"id\": ", int64_t{op.sequence},
      ", \"pid\": ", pid_, ", \"tid\": ", thread(op.autograd), ", \"ts\": ", stamp(op.start_ns),
      ",\n    \"cat\": \"fwdbwd\", \"name\": \"fwdbwd\"", op.autograd ? ", \"bp\": \"e\"" : "",
      "\n  },\n");
  ++(op.autograd ? counts_.flow_finish : counts_.flow_start);
}

void Writer::write_flow(char phase, int64_t id, int64_t pid, std::string_view tid_text, int64_t tid,
                        Us time) {
  put("  {\n    \"ph\": \"", std::string_view(&phase, 1), "\", \"id\": ", id, ", \"pid\": ", pid,
      ", \"tid\": ", tid_text, tid, tid_text.empty() ? "" : "\"", ", \"ts\": ", time,
      g1_ ? ",\n    \"cat\": \"async\", \"name\": \"launch\""
          : ",\n    \"cat\": \"ac2g\", \"name\": \"ac2g\"",
      phase == 'f' ? ", \"bp\": \"e\"\n  },\n" : "\n  },\n");
  ++(phase == 'f' ? counts_.flow_finish : counts_.flow_start);
}

void Writer::write_call(const RankState& state, const Call& call) {
  const ApiSpec& api = spec(call.api);
  const int64_t correlation = call.correlation;
  const Us time = stamp(call.start_ns);
  put(layout_.calls[static_cast<size_t>(call.api)], pid_, ", \"tid\": ", thread(call.autograd),
      ",\n    \"ts\": ", time, ", \"dur\": ", lasted(call.start_ns, call.end_ns),
      ",\n    \"args\": {\n      ");
  if (epoch_us_) {
    put(g1_ ? "\"external id\": " : "\"External id\": ", correlation, ",\n      ");
  } else if (call.external_id > 0) {
    put("\"External id\": ", int64_t{call.external_id}, ",\n      ");
  }
  put("\"cbid\": ", int64_t{api.cbid}, ", \"correlation\": ", correlation, "\n    }\n  },\n");
  ++(api.driver && !g1_ ? counts_.driver : counts_.runtime);
  const bool launches = call.num_work > 0 && !state.work.empty();
  const bool waits = call.api == Api::kStreamWaitEvent || call.api == Api::kDeviceSynchronize;
  if (launches || (waits && epoch_us_)) {
    write_flow('s', correlation, pid_, "", thread(call.autograd), time);
  } else if (epoch_us_) {
    write_flow('f', correlation, pid_, "", thread(call.autograd), time);
  }
}

void Writer::write_work(const WorkItem& item, const Call& call) {
  const auto index = static_cast<size_t>(item.kernel);
  const KernelSpec& k = spec(item.kernel);
  const int64_t stream = kStreamIds[static_cast<size_t>(item.stream)];
  const bool zero = item.damage == static_cast<int8_t>(FaultKind::kZeroTimes);
  const Us time = zero ? Us{0} : stamp(item.start_ns);
  Us duration = zero ? Us{0} : lasted(item.start_ns, item.end_ns);
  const std::string_view tid_text = g1_ ? "\"stream " : "";
  const int64_t external = epoch_us_ ? call.correlation : call.external_id;
  const double bandwidth =
      duration.ns > 0 ? static_cast<double>(item.bytes) / static_cast<double>(duration.ns) : 0;
  if (item.damage == static_cast<int8_t>(FaultKind::kLongDuration)) duration.ns += kWeekNs;
  if (item.damage == static_cast<int8_t>(FaultKind::kOverrun)) duration.ns += kOverrunNs;

  put(layout_.kernels[index].head, device_, ", \"tid\": ", tid_text, stream, g1_ ? "\"" : "",
      ",\n    \"ts\": ", time, ", \"dur\": ", duration, ",\n    \"args\": {\n      ");
  if (external > 0) put(g1_ ? "\"external id\": " : "\"External id\": ", external, ",\n      ");
  put(k.work == Work::kMemory ? "\"device\": " : "\"queued\": 0, \"device\": ", device_,
      ", \"context\": 1,\n      \"stream\": ", stream,
      ", \"correlation\": ", int64_t{call.correlation});
  if (k.work == Work::kMemory) {
    put(",\n      \"bytes\": ", item.bytes);
    if (bandwidth > 0) put(", \"memory bandwidth (GB/s)\": ", fmt::format("{}", bandwidth));
    ++(k.api == Api::kMemsetAsync ? counts_.memset : counts_.memcpy);
  } else {
    put(item.damage == static_cast<int8_t>(FaultKind::kNotANumber)
            ? layout_.kernels[index].tail_not_a_number
            : layout_.kernels[index].tail);
    if (!k.collective.empty() && !epoch_us_) write_collective(item);
    ++counts_.kernel;
  }
  put("\n    }\n  },\n");
  write_flow('f', call.correlation, device_, tid_text, stream, time);
}

void Writer::write_collective(const WorkItem& item) {
  const KernelSpec& k = spec(item.kernel);
  const int64_t world = scenario_.ranks;
  const bool gathers = item.kernel == Kernel::kNcclAllGather;
  const bool scatters = item.kernel == Kernel::kNcclReduceScatter;
  put(",\n      \"Collective name\": \"", k.collective,
      "\", \"In msg nelems\": ", gathers ? k.bytes / world : k.bytes,
      ", \"Out msg nelems\": ", scatters ? k.bytes / world : k.bytes, ", \"Group size\": ", world,
      ", \"dtype\": \"BFloat16\", \"Process Group Name\": \"0\", \"Process Group Description\": "
      "\"default_pg\", \"Process Group Ranks\": \"[");
  for (int64_t r = 0; r < std::min<int64_t>(world, 30); ++r) put(r > 0 ? ", " : "", r);
  put(world > 30 ? ", ...]\", \"Seq\": " : "]\", \"Seq\": ", int64_t{item.sequence});
}

// The profiler's own projection of annotations to streams: from the first start less 1 ns to the
// last end and 1 ns.
void Writer::write_gpu_annotations(const RankState& state, std::span<const RegionInfo> regions) {
  struct Range {
    int64_t start_ns = INT64_MAX, end_ns = INT64_MIN;
  };
  std::vector<std::array<Range, kNumStreams>> ranges(regions.size());
  for (const WorkItem& item : state.work) {
    if (item.region < 0 || item.missing) continue;
    Range& range = ranges[static_cast<size_t>(item.region)][static_cast<size_t>(item.stream)];
    range.start_ns = std::min(range.start_ns, item.start_ns);
    range.end_ns = std::max(range.end_ns, item.end_ns);
  }
  const int64_t margin = clock_.resolution_ns == 1 ? 1 : 0;
  for (size_t i = 0; i < ranges.size(); ++i) {
    for (size_t s = 0; s < kNumStreams; ++s) {
      const Range& range = ranges[i][s];
      if (range.end_ns < range.start_ns) continue;
      const Us time = {stamp(range.start_ns).ns - margin};
      put("  {\n    \"ph\": \"X\", \"cat\": \"gpu_user_annotation\", \"name\": \"", regions[i].name,
          "\", \"pid\": ", device_, ", \"tid\": ", int64_t{kStreamIds[s]}, ",\n    \"ts\": ", time,
          ", \"dur\": ", Us{lasted(range.start_ns, range.end_ns).ns + 2 * margin},
          ",\n    \"args\": {\n      \"External id\": ", int64_t{state.region_ids[i]},
          "\n    }\n  },\n");
      ++counts_.gpu_user_annotation;
    }
  }
}

}  // namespace hadal::trace::gen
