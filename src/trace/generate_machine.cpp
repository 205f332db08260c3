#include "trace/generate_machine.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace hadal::trace::gen {
namespace {

constexpr size_t kQueueDepth = 1024;  // launches that CUDA accepts before it makes the host wait
constexpr int64_t kLaunchLatencyNs = 1'500;
constexpr int64_t kKernelGapNs = 1'000, kKernelGapSpreadNs = 800;
// A stream that waits for another starts later than one that goes on by itself.
constexpr int64_t kEventLatencyNs = 2'500;
constexpr int64_t kSyncReturnNs = 3'000;
constexpr int64_t kPdlOverlapNs = 3'000, kNegativeDelayNs = 2'000;
constexpr int64_t kPercent = 100;

constexpr std::string_view kSmallOps[] = {"aten::empty",       "aten::view",  "aten::as_strided",
                                          "aten::empty_like",  "aten::slice", "aten::t",
                                          "aten::resolve_conj"};

bool is_gemm(Kernel kernel) {
  return kernel == Kernel::kGemm || kernel == Kernel::kGemmSmall || kernel == Kernel::kGemmGrouped;
}

}  // namespace

Machine::Machine(const Scenario& scenario)
    : scenario_(scenario),
      resolution_ns_(scenario.whole_microseconds || scenario.format <= Format::kG2 ? 1000 : 1),
      rng_(scenario.seed) {
  const auto ranks = static_cast<size_t>(scenario.ranks);
  amounts_.assign(kNumFaultKinds * ranks, 0);
  injected_index_.assign(kNumFaultKinds * ranks, -1);
  for (size_t r = 0; r < ranks; ++r) ranks_.emplace_back(rng_.fork(r));
  for (const Fault& fault : scenario.faults) {
    for (size_t r = 0; r < ranks; ++r) {
      if (fault.rank >= 0 && static_cast<size_t>(fault.rank) != r) continue;
      const size_t at = static_cast<size_t>(fault.kind) * ranks + r;
      amounts_[at] += fault.amount;
      if (injected_index_[at] >= 0) continue;
      injected_index_[at] = static_cast<int32_t>(injected_.size());
      injected_.push_back({fault, 0, 0});
      injected_.back().fault.rank = static_cast<int>(r);
    }
  }
}

int64_t Machine::amount(FaultKind kind, int rank) const {
  return amounts_[static_cast<size_t>(kind) * ranks_.size() + static_cast<size_t>(rank)];
}

void Machine::count_fault(FaultKind kind, int rank, int64_t count, int64_t extra_ns) {
  const int32_t at =
      injected_index_[static_cast<size_t>(kind) * ranks_.size() + static_cast<size_t>(rank)];
  DCHECK(at >= 0);
  injected_[static_cast<size_t>(at)].count += count;
  injected_[static_cast<size_t>(at)].extra_ns += extra_ns;
}

int64_t Machine::rounded(int64_t ns) const {
  return std::max<int64_t>(1, (ns + resolution_ns_ - 1) / resolution_ns_) * resolution_ns_;
}

int64_t Machine::jittered(RankState& rank, int64_t ns) const {
  return rounded(ns / 1000 * (980 + static_cast<int64_t>(rank.rng.below(41))) +
                 static_cast<int64_t>(rank.rng.below(1000)));
}

int64_t Machine::spent(RankState& rank, int64_t least, int64_t spread) const {
  return rounded(least + static_cast<int64_t>(rank.rng.below(static_cast<uint64_t>(spread))));
}

// --- the host ---------------------------------------------------------------------------------

Op& Machine::begin_op(RankState& rank, std::string_view name, OpKind kind) {
  Op op;
  op.start_ns = rank.host_ns;
  op.name = name;
  op.external_id = ++rank.external_id;
  op.kind = kind;
  op.autograd = autograd_;
  rank.open.push_back(static_cast<uint32_t>(rank.ops.size()));
  rank.ops.push_back(op);
  if (kind == OpKind::kCpuOp) damage(rank, rank.ops.back());
  return rank.ops.back();
}

void Machine::end_op(RankState& rank) {
  const uint32_t at = rank.open.back();
  rank.open.pop_back();
  Op& op = rank.ops[at];
  op.end_ns = rank.host_ns;
  Op& last = rank.ops.back();
  const int r = rank_of(rank);
  if (op.kind == OpKind::kCpuOp && &last != &op && last.damage < 0 && op.damage < 0 &&
      last.kind == OpKind::kCpuOp && rank.noisy < amount(FaultKind::kNestingNoise, r)) {
    ++rank.noisy;
    last.end_ns = op.end_ns + 1;
    last.damage = static_cast<int8_t>(FaultKind::kNestingNoise);
    count_fault(FaultKind::kNestingNoise, r, 1, 0);
  }
}

void Machine::small_op(RankState& rank, std::string_view name) {
  begin_op(rank, name, OpKind::kCpuOp);
  rank.host_ns += spent(rank, 500, 1500);
  end_op(rank);
  rank.host_ns += rounded(300);
}

// Each kind of damage strikes its own operators: every 64th, as many as asked for.
void Machine::damage(RankState& rank, Op& op) {
  const uint64_t n = rank.num_ops++;
  if (injected_.empty()) return;
  const int r = rank_of(rank);
  constexpr FaultKind kKinds[] = {FaultKind::kUnescapedQuote, FaultKind::kControl,
                                  FaultKind::kInvalidUtf8,    FaultKind::kTrailingComma,
                                  FaultKind::kHugeInteger,    FaultKind::kNumberStrings};
  for (size_t i = 0; i < std::size(kKinds); ++i) {
    if (n % 64 != 8 * i + 3 || static_cast<int64_t>(n / 64) >= amount(kKinds[i], r)) continue;
    op.damage = static_cast<int8_t>(kKinds[i]);
    count_fault(kKinds[i], r, 1, 0);
    return;
  }
  if (static_cast<int64_t>(n * 37 % 100) < amount(FaultKind::kZeroTimes, r)) {
    op.damage = static_cast<int8_t>(FaultKind::kZeroTimes);
    count_fault(FaultKind::kZeroTimes, r, 1, 0);
  }
}

void Machine::damage(RankState& rank, WorkItem& item) {
  const uint64_t n = rank.num_work++;
  const bool is_kernel = spec(item.kernel).work != Work::kMemory;
  const uint64_t k = is_kernel ? rank.num_kernels++ : UINT64_MAX;
  if (injected_.empty()) return;
  const int r = rank_of(rank);
  if (n < static_cast<uint64_t>(amount(FaultKind::kMissingKernels, r))) {
    item.missing = true;
    count_fault(FaultKind::kMissingKernels, r, 1, 0);
  } else if (static_cast<int64_t>(n * 37 % 100) < amount(FaultKind::kZeroTimes, r)) {
    item.damage = static_cast<int8_t>(FaultKind::kZeroTimes);
    count_fault(FaultKind::kZeroTimes, r, 1, 0);
  } else if (k < static_cast<uint64_t>(amount(FaultKind::kNotANumber, r))) {
    item.damage = static_cast<int8_t>(FaultKind::kNotANumber);
    count_fault(FaultKind::kNotANumber, r, 1, 0);
  }
}

Call& Machine::call(RankState& rank, Api api, int64_t duration_ns) {
  Call made;
  made.start_ns = rank.host_ns;
  made.end_ns = rank.host_ns + duration_ns;
  made.correlation = ++rank.correlation;
  if (!rank.open.empty()) made.external_id = rank.ops[rank.open.back()].external_id;
  made.first_work = static_cast<uint32_t>(rank.work.size());
  made.api = api;
  made.autograd = autograd_;
  made.anchor = rank.anchor;
  rank.host_ns = made.end_ns;
  rank.calls.push_back(made);
  return rank.calls.back();
}

void Machine::wait_for(RankState& rank, int64_t time_ns, int32_t item) {
  if (time_ns <= rank.host_ns) return;
  rank.host_ns = time_ns;
  rank.anchor = {time_ns, item, false};
}

void Machine::launch_call(RankState& rank, const KernelSpec& what) {
  const int r = rank_of(rank);
  if (scenario_.stacks) {
    begin_op(
        rank,
        autograd_ ? "torch/autograd/graph.py(825): _engine_run_backward" : "model.py(241): forward",
        OpKind::kPython);
    rank.host_ns += spent(rank, 500, 500);
    begin_op(rank, "nn.Module: DecoderLayer", OpKind::kPython);
    rank.host_ns += spent(rank, 500, 500);
  }
  begin_op(rank, what.op, OpKind::kCpuOp).sequence = sequence_;
  rank.host_ns += spent(rank, 1000, 1500);
  for (int i = 0; i < what.children; ++i) {
    small_op(rank, kSmallOps[(rank.num_ops + static_cast<uint64_t>(i)) % std::size(kSmallOps)]);
  }
  if (what.api == Api::kLaunchKernelExC) call(rank, Api::kFuncSetAttribute, rounded(600));
  const int64_t late = amount(FaultKind::kLateHost, r);
  if (late > 0) count_fault(FaultKind::kLateHost, r, 1, rounded(late));
  int64_t duration_ns = spent(rank, 4000, 4000) + (late > 0 ? rounded(late) : 0);
  // A full queue: the call returns when the launch kQueueDepth before it has started.
  const Anchor full =
      rank.num_starts >= kQueueDepth ? rank.starts[rank.num_starts % kQueueDepth] : Anchor{};
  const bool blocked = full.time_ns > rank.host_ns + duration_ns;
  if (blocked) duration_ns = full.time_ns - rank.host_ns;
  Call& launch = call(rank, what.api, duration_ns);
  if (blocked) launch.anchor = rank.anchor = full;
  rank.host_ns += rounded(800);
  end_op(rank);
  if (scenario_.stacks) {
    end_op(rank);
    end_op(rank);
  }
}

void Machine::next_sequence() {
  if (!autograd_) {
    forward_.push_back(sequence_ = ++next_sequence_);
  } else if (forward_.empty()) {
    sequence_ = 0;
  } else {
    sequence_ = forward_.back();
    forward_.pop_back();
  }
}

// --- the GPU ----------------------------------------------------------------------------------

WorkItem& Machine::place(RankState& rank, Kernel kernel, Stream stream) {
  if (!graph_) launch_call(rank, spec(kernel));
  Call& launch = rank.calls.back();
  WorkItem item;
  item.kernel = kernel;
  item.stream = stream;
  item.call = static_cast<uint32_t>(rank.calls.size() - 1);
  item.region = region_;
  item.bytes = spec(kernel).bytes;
  item.start_ns = launch.end_ns + rounded(kLaunchLatencyNs);
  damage(rank, item);

  const RankState::Queue& queue = rank.queues[static_cast<size_t>(stream)];
  const int r = rank_of(rank);
  int64_t gap = spent(rank, kKernelGapNs, kKernelGapSpreadNs);
  const int64_t pdl = amount(FaultKind::kOverlapPdl, r);
  const int64_t overlap = rounded(kPdlOverlapNs);
  if (pdl > 0 && queue.last >= 0 && stream == Stream::kCompute &&
      spec(kernel).work == Work::kCompute && static_cast<int64_t>(rank.rng.below(100)) < pdl) {
    const WorkItem& last = rank.work[static_cast<size_t>(queue.last)];
    if (last.end_ns - last.start_ns > 2 * overlap) gap = -overlap;
  }
  if (queue.end_ns + gap > item.start_ns) {
    item.start_ns = queue.end_ns + gap;
    item.after = queue.last;
    if (gap < 0) count_fault(FaultKind::kOverlapPdl, r, 1, overlap);
  }
  if (queue.released_ns > 0 && queue.released_ns + rounded(kEventLatencyNs) > item.start_ns) {
    item.start_ns = queue.released_ns + rounded(kEventLatencyNs);
    item.after = queue.released_by;
  }
  const int64_t early = launch.end_ns - rounded(kNegativeDelayNs);
  if (item.after < 0 && rank.negative_delays < amount(FaultKind::kNegativeDelay, r) &&
      early > launch.start_ns && early > queue.end_ns && early > queue.released_ns) {
    item.start_ns = early;
    ++rank.negative_delays;
    count_fault(FaultKind::kNegativeDelay, r, 1, 0);
  }
  ++launch.num_work;
  rank.work.push_back(item);
  return rank.work.back();
}

void Machine::finish(RankState& rank, WorkItem& item, int64_t end_ns) {
  item.end_ns = end_ns;
  RankState::Queue& queue = rank.queues[static_cast<size_t>(item.stream)];
  queue.end_ns = end_ns;
  queue.last = static_cast<int32_t>(rank.work.size() - 1);
  if (graph_) return;
  rank.starts.resize(kQueueDepth);
  rank.starts[rank.num_starts++ % kQueueDepth] = {item.start_ns, queue.last, true};
}

int64_t Machine::duration(RankState& rank, Kernel kernel, double scale) {
  const KernelSpec& what = spec(kernel);
  const int64_t base = jittered(rank, std::llround(static_cast<double>(what.duration_ns) * scale));
  const int r = rank_of(rank);
  const FaultKind fault =
      what.work == Work::kCompute ? FaultKind::kStraggler : FaultKind::kSlowLink;
  const bool slows = what.work == Work::kCompute || what.work == Work::kTransfer;
  const int64_t percent = slows ? amount(fault, r) : 0;
  if (percent == 0) return base;
  const int64_t slow = rounded(base * (kPercent + percent) / kPercent);
  count_fault(fault, r, 1, slow - base);
  return slow;
}

Kernel Machine::replaced(Kernel kernel) {
  if (injected_.empty() || !is_gemm(kernel)) return kernel;
  const auto drawn = static_cast<int64_t>(rng_.below(100));
  int64_t least = 0;
  for (const auto& [fault, other] :
       {std::pair{FaultKind::kLowOccupancy, Kernel::kLowOccupancyGemm},
        std::pair{FaultKind::kWaveQuantised, Kernel::kWaveQuantisedGemm}}) {
    // Shared by all ranks, for a shape is the model's.
    const int64_t most = least + amount(fault, 0);
    if (drawn >= least && drawn < most) {
      const int64_t extra = spec(other).duration_ns - spec(kernel).duration_ns;
      for (size_t r = 0; r < ranks_.size(); ++r) count_fault(fault, static_cast<int>(r), 1, extra);
      return other;
    }
    least = most;
  }
  return kernel;
}

void Machine::kernel(Kernel wanted, Stream stream, double scale) {
  const Kernel kernel = replaced(wanted);
  if (!graph_) next_sequence();
  for (RankState& rank : ranks_) {
    WorkItem& item = place(rank, kernel, stream);
    finish(rank, item, item.start_ns + duration(rank, kernel, scale));
  }
}

void Machine::kernels(std::span<const Kernel> list, Stream stream, double scale) {
  for (const Kernel k : list) kernel(k, stream, scale);
}

void Machine::collective(Kernel kernel, Stream stream, int layer, double scale) {
  const bool is_nccl = !spec(kernel).collective.empty();
  if (is_nccl) ++nccl_sequence_;
  sequence_ = 0;
  int64_t last_start = 0, transfer = 0;
  for (RankState& rank : ranks_) {
    WorkItem& item = place(rank, kernel, stream);
    item.sequence = is_nccl ? static_cast<uint32_t>(nccl_sequence_) : 0;
    last_start = std::max(last_start, item.start_ns);
    transfer = std::max(transfer, duration(rank, kernel, scale));
  }
  const int64_t end_ns = last_start + transfer;
  for (RankState& rank : ranks_) {
    const int r = rank_of(rank);
    const int64_t growth =
        spec(kernel).work == Work::kBarrier ? amount(FaultKind::kBarrierGrowth, r) * layer : 0;
    if (growth > 0) count_fault(FaultKind::kBarrierGrowth, r, 1, rounded(growth));
    finish(rank, rank.work.back(), end_ns + (growth > 0 ? rounded(growth) : 0));
  }
  collective_answer(kernel, end_ns);
}

void Machine::collective_answer(Kernel kernel, int64_t end_ns) {
  CollectiveAnswer answer;
  answer.kernel = spec(kernel).name;
  answer.sequence = spec(kernel).collective.empty() ? num_collectives_ : nccl_sequence_;
  ++num_collectives_;
  for (const RankState& rank : ranks_) answer.start_ns.push_back(rank.work.back().start_ns);
  answer.end_ns = end_ns;
  collectives_.push_back(std::move(answer));
}

int Machine::record(Stream stream) {
  const int mark = static_cast<int>(marks_.size() / ranks_.size());
  for (const RankState& rank : ranks_) {
    const RankState::Queue& queue = rank.queues[static_cast<size_t>(stream)];
    marks_.push_back({queue.end_ns, queue.last});
  }
  return mark;
}

void Machine::wait(Stream stream, int mark) {
  for (size_t r = 0; r < ranks_.size(); ++r) {
    RankState& rank = ranks_[r];
    call(rank, Api::kStreamWaitEvent, rounded(700));
    rank.host_ns += rounded(300);
    const Mark& seen = marks_[static_cast<size_t>(mark) * ranks_.size() + r];
    RankState::Queue& queue = rank.queues[static_cast<size_t>(stream)];
    if (seen.item < 0 || seen.time_ns <= queue.released_ns) continue;
    queue.released_ns = seen.time_ns;
    queue.released_by = seen.item;
  }
}

void Machine::host_wait(Stream stream) {
  for (RankState& rank : ranks_) {
    const RankState::Queue& queue = rank.queues[static_cast<size_t>(stream)];
    wait_for(rank, queue.end_ns + rounded(kSyncReturnNs), queue.last);
  }
}

void Machine::synchronize(RankState& rank, Api api) {
  const RankState::Queue& last =
      *std::max_element(rank.queues.begin(), rank.queues.end(),
                        [](const auto& a, const auto& b) { return a.end_ns < b.end_ns; });
  const int64_t from = rank.host_ns;
  const int64_t until = std::max(from + rounded(2000), last.end_ns + rounded(kSyncReturnNs));
  call(rank, api, until - from);
  if (until > from + rounded(2000)) rank.anchor = {until, last.last, false};
}

void Machine::synchronize(Api api) {
  for (RankState& rank : ranks_) synchronize(rank, api);
}

void Machine::begin_graph(std::string_view op) {
  graph_ = true;
  for (RankState& rank : ranks_) {
    begin_op(rank, op, OpKind::kCpuOp);
    rank.host_ns += spent(rank, 3000, 2000);
    const int r = rank_of(rank);
    const int64_t late = amount(FaultKind::kLateHost, r);
    if (late > 0) count_fault(FaultKind::kLateHost, r, 1, rounded(late));
    call(rank, Api::kGraphLaunch, spent(rank, 60'000, 20'000) + (late > 0 ? rounded(late) : 0));
    rank.host_ns += rounded(800);
    end_op(rank);
  }
}

// --- the program ------------------------------------------------------------------------------

void Machine::begin_step(int number) {
  for (RankState& rank : ranks_) {
    rank.host_ns += spent(rank, 15'000, 10'000);
    rank.anchor = {rank.host_ns, -1, false};
    begin_op(rank, "ProfilerStep#", OpKind::kStep).sequence = static_cast<uint32_t>(number);
    rank.host_ns += spent(rank, 10'000, 10'000);
  }
}

void Machine::end_step() {
  synchronize(Api::kDeviceSynchronize);
  for (RankState& rank : ranks_) {
    rank.host_ns += rounded(2000);
    end_op(rank);
    DCHECK(rank.open.empty());
    lengthen(rank);
  }
}

// A late completion stamp: the file says a week or 5 ms more, and a reader that clips an activity
// at the next one of its stream finds no gap between the two.
void Machine::lengthen(RankState& rank) {
  const int r = rank_of(rank);
  std::array<int64_t, 2> left = {amount(FaultKind::kLongDuration, r),
                                 amount(FaultKind::kOverrun, r)};
  std::array<int32_t, kNumStreams> previous;
  previous.fill(-1);
  for (size_t i = 0; i < rank.work.size() && left[0] + left[1] > 0; ++i) {
    const WorkItem& next = rank.work[i];
    if (next.missing || next.damage >= 0) continue;
    int32_t& last = previous[static_cast<size_t>(next.stream)];
    if (last >= 0 && next.start_ns >= rank.work[static_cast<size_t>(last)].end_ns) {
      const size_t which = left[0] > 0 ? 0 : 1;
      const FaultKind kind = which == 0 ? FaultKind::kLongDuration : FaultKind::kOverrun;
      WorkItem& item = rank.work[static_cast<size_t>(last)];
      item.end_ns = next.start_ns;
      item.damage = static_cast<int8_t>(kind);
      count_fault(kind, r, 1, 0);
      --left[which];
    }
    last = static_cast<int32_t>(i);
  }
}

void Machine::begin(std::string_view annotation, bool leaf) {
  leaves_.push_back(leaf);
  for (RankState& rank : ranks_) {
    rank.host_ns += spent(rank, 4000, 4000);
    begin_op(rank, annotation, OpKind::kAnnotation);
    if (leaf) rank.region_ids.push_back(rank.external_id);
    rank.host_ns += spent(rank, 3000, 3000);
  }
  if (!leaf) return;
  auto seen = std::find_if(next_index_.begin(), next_index_.end(),
                           [&](const RegionInfo& info) { return info.name == annotation; });
  if (seen == next_index_.end()) seen = next_index_.insert(seen, {annotation, 0});
  region_ = static_cast<int>(regions_.size());
  regions_.push_back({annotation, seen->index++});
}

void Machine::end() {
  for (RankState& rank : ranks_) {
    rank.host_ns += spent(rank, 2000, 2000);
    end_op(rank);
  }
  if (leaves_.back()) region_ = -1;
  leaves_.pop_back();
}

void Machine::host_work(std::string_view op, int64_t duration_ns) {
  for (RankState& rank : ranks_) {
    begin_op(rank, op, OpKind::kCpuOp);
    rank.host_ns += jittered(rank, duration_ns);
    end_op(rank);
  }
}

void Machine::poll(int64_t count) {
  for (RankState& rank : ranks_) {
    for (int64_t i = 0; i < count; ++i) {
      call(rank, Api::kEventQuery, rounded(1000));
      rank.host_ns += spent(rank, 500, 1500);
    }
  }
}

void Machine::malloc_storm(RankState& rank, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t from = rank.host_ns;
    synchronize(rank, Api::kFree);
    call(rank, Api::kMalloc, jittered(rank, 800'000));
    Op instant;
    instant.start_ns = instant.end_ns = rank.host_ns;
    instant.name = "[memory]";
    instant.external_id = ++rank.external_id;
    instant.sequence = 1u << 28;
    instant.kind = OpKind::kMemory;
    instant.autograd = autograd_;
    rank.ops.push_back(instant);
    count_fault(FaultKind::kMallocStorm, rank_of(rank), 1, rank.host_ns - from);
  }
}

// The call returns when the copy is done.
void Machine::pageable_copy(RankState& rank) {
  const int64_t from = rank.host_ns;
  const size_t first_op = rank.ops.size();
  sequence_ = 0;
  WorkItem& item = place(rank, Kernel::kMemcpyPageable, Stream::kCompute);
  finish(rank, item, item.start_ns + duration(rank, Kernel::kMemcpyPageable, 1));
  Call& made = rank.calls.back();
  const int64_t until = item.end_ns + rounded(kSyncReturnNs);
  for (size_t i = first_op; i < rank.ops.size(); ++i) {  // the operators around the call
    if (rank.ops[i].end_ns >= made.end_ns) rank.ops[i].end_ns += until - made.end_ns;
  }
  wait_for(rank, rank.host_ns + until - made.end_ns, static_cast<int32_t>(rank.work.size() - 1));
  made.end_ns = until;
  count_fault(FaultKind::kPageableCopy, rank_of(rank), 1, rank.host_ns - from);
}

void Machine::end_layer(int layers_in_step) {
  const int64_t i = layer_in_step_++;
  for (RankState& rank : ranks_) {
    const int r = rank_of(rank);
    const auto due = [&](FaultKind kind) {
      const int64_t all = amount(kind, r);
      return all * (i + 1) / layers_in_step - all * i / layers_in_step;
    };
    for (int64_t n = due(FaultKind::kSyncStall); n > 0; --n) {
      const int64_t from = rank.host_ns;
      synchronize(rank, Api::kDeviceSynchronize);
      count_fault(FaultKind::kSyncStall, r, 1, rank.host_ns - from);
    }
    malloc_storm(rank, due(FaultKind::kMallocStorm));
    for (int64_t n = due(FaultKind::kPageableCopy); n > 0; --n) pageable_copy(rank);
  }
}

void Machine::clear() {
  for (RankState& rank : ranks_) {
    rank.ops.clear();
    rank.calls.clear();
    rank.work.clear();
    rank.region_ids.clear();
    rank.num_starts = 0;
    rank.negative_delays = 0;
    for (RankState::Queue& queue : rank.queues) {
      queue.last = queue.released_by = -1;
      queue.released_ns = 0;
    }
  }
  regions_.clear();
  collectives_.clear();
  marks_.clear();
  forward_.clear();
  layer_in_step_ = 0;
}

}  // namespace hadal::trace::gen
