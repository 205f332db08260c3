// Writes what the machine did as the PyTorch profiler would: key order, line breaks, metadata and
// quirks of the four generations of its format, and its malformations where a scenario asks for
// them.
//
// The text of an event is put together from pieces that are prepared once per kernel and format
// (Layout), because the benchmarks of the readers want gigabytes.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "trace/generate.h"
#include "trace/generate_answers.h"
#include "trace/generate_machine.h"

namespace hadal::trace::gen {

/// The constant text of the events of a format. Shared by the writers of all ranks.
struct Layout {
  explicit Layout(const Scenario& scenario);
  struct KernelText {
    std::string head;  // up to the value of "pid"
    std::string tail;  // from behind the value of "correlation" to the end of the event
    std::string tail_not_a_number;
  };
  std::array<KernelText, kNumKernels> kernels;
  std::array<std::string, kNumApis> calls;  // up to the value of "pid"
};

class Writer {
 public:
  Writer(const Scenario& scenario, const Layout& layout, const Clock& clock, int rank,
         const Sink& sink);
  void begin();
  /// `regions` are the machine's, of this step.
  Result<> write_step(const RankState& state, std::span<const RegionInfo> regions);
  /// Metadata and the end of the file.
  Result<> finish(const RankState& state);
  int64_t bytes() const { return flushed_ + static_cast<int64_t>(out_.size()); }
  const EventCounts& counts() const { return counts_; }
  int64_t truncated_at() const { return truncated_at_; }

 private:
  struct Us {  // a time as the format writes it, in microseconds
    int64_t ns;
  };
  void add(std::string_view text) { out_ += text; }
  void add(int64_t number);
  void add(Us time);
  template <typename... Parts>
  void put(const Parts&... parts) {
    (add(parts), ...);
  }
  Us stamp(int64_t true_ns) const;  // of a point in true time
  Us lasted(int64_t start_ns, int64_t end_ns) const;

  bool has(FaultKind kind) const;
  Result<> flush();
  int64_t thread(bool autograd) const { return autograd ? pid_ + 1405 : pid_; }
  void write_properties();
  void write_distributed();
  void write_op(const Op& op);
  void write_cpu_op(const Op& op, std::string_view name);
  void write_op_args(const Op& op);
  void write_sequence_flow(const Op& op);
  void write_call(const RankState& state, const Call& call);
  void write_flow(char phase, int64_t id, int64_t pid, std::string_view tid_text, int64_t tid,
                  Us time);
  void write_work(const WorkItem& item, const Call& call);
  void write_collective(const WorkItem& item);
  void write_gpu_annotations(const RankState& state, std::span<const RegionInfo> regions);
  void write_names();
  void write_metadata(std::string_view what, int64_t pid, std::string_view tid_text, int64_t tid,
                      std::string_view key, std::string_view value, bool quoted);

  const Scenario& scenario_;
  const Layout& layout_;
  Clock clock_;
  int rank_;
  const Sink& sink_;
  int64_t pid_, device_;
  int64_t base_ns_;  // added to the rank's clock to give the "ts"
  bool epoch_us_;    // whole microseconds since 1970 (G1, G2)
  bool g1_;
  std::string out_;
  int64_t flushed_ = 0, truncated_at_ = -1;
  int64_t ev_index_ = 0;
  EventCounts counts_;
};

}  // namespace hadal::trace::gen
