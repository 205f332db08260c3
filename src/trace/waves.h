// SMs as a resource: who holds them, how kernels fill them in waves, and who queues for them.
//
// Partition. Communication kernels that move data by SMs (DeepEP, NCCL) keep a fixed number of them
// busy; an engine that overlaps gives its matrix multiplications the rest as persistent grids. Both
// show: communication_sms is the block count with the most time among transfer kernels of fewer
// blocks than SMs; compute_sms that among compute kernels of which only one block fits on an SM and
// which have fewer blocks than SMs. A partition is detected when their sum is at most the number of
// SMs, compute has at least half of them and is at least kPartitionShare of all compute time.
//
// Waves. While a communication kernel runs, its blocks (one per SM, as blocks spread out) take
// warps, registers and shared memory of their SMs. For a compute kernel that overlaps it for at
// least half of its time:
//   capacity   = fit * (SMs - held) + beside * held     blocks resident at a time
//                fit: blocks of the kernel on an empty SM, beside: on one with such a block
//   waves      = ceil(blocks / capacity)
//   efficiency = blocks / (waves * capacity)            1: the last wave is full
// A flag is a kernel in such company with 2 waves or more, efficiency below kEfficiencyFlag and
// more than kSpanShareFlag of the span. It is a computation; contention.h has the measurement that
// confirms or refutes it. One wave that does not fill the GPU is no flag: a persistent grid is made
// that way.
//
// Queueing. Kernels of one wave of which one block fits on an SM, and whose blocks together exceed
// the SMs, cannot run together: part of their duration is waiting. queueing_ns is the length of the
// time in which such compute kernels are "running" on one GPU with more blocks than SMs.
//
// Head of line. A compute kernel on a stream that carries communication competes with its own
// stream's neighbours; one that takes kHeadOfLineFactor times the median of the same kernel on
// other streams holds up the communication behind it.
//
// Pure functions; n log n. What the trace does not say (SMs, launches) is counted in notes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trace/activity.h"
#include "trace/contention.h"
#include "trace/json.h"
#include "trace/kernel_groups.h"

namespace hadal::trace {

inline constexpr double kPartitionShare = 0.1;
inline constexpr double kEfficiencyFlag = 0.8;
inline constexpr double kSpanShareFlag = 0.001;
inline constexpr double kHeadOfLineFactor = 3;

struct Partition {
  int device = -1;
  int num_sms = 0;
  int communication_sms = 0, compute_sms = 0;  // 0: none found
  bool detected = false;
  /// Return on overlap: what one GPU would take without it, transfer and compute after each other
  /// with all SMs, against the span. Both 0 where no partition is detected.
  ///   sequential = |U(compute)| * compute_sms / SMs + sum of transfers
  int64_t sequential_ns = 0, span_ns = 0;
  double gain() const;    // sequential / span; 0: unknown
  double sm_tax() const;  // 1 - compute_sms / SMs; 0: not detected
};

struct WaveRow {
  KernelKey key;
  int device = -1;
  Company company = Company::kAlone;  // kAlone, or kCommunication: for half of its time or more
  int blocks_per_sm = 0;
  int sms_held = 0;  // by communication
  int64_t blocks = 0, capacity = 0, waves = 0;
  double efficiency = 0;
  uint64_t count = 0;
  int64_t total_ns = 0;
  bool flagged = false;
};

struct Queueing {
  int64_t total_ns = 0;
  uint64_t kernels = 0;
  /// Of the kernels concerned: sum of durations and union. Their difference is counted twice by
  /// whoever adds up durations.
  int64_t sum_ns = 0, union_ns = 0;
  std::vector<uint32_t> activities;  // ascending
};

struct HeadOfLine {
  uint32_t activity = 0;
  int64_t elsewhere_median_ns = 0;
  uint64_t elsewhere_count = 0;
};

struct WaveReport {
  std::vector<Partition> partitions;  // by device
  std::vector<WaveRow> rows;          // compute kernels; longest total first
  Queueing queueing;
  std::vector<HeadOfLine> head_of_line;  // longest first
  std::vector<std::string> notes;
};

WaveReport wave_report(const GpuView& view);
Json to_json(const GpuView& view, const WaveReport& report);

}  // namespace hadal::trace
