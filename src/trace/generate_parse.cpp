// How scenarios are spelled, and what they may ask for.
#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/core.h>

#include "base/rng.h"
#include "trace/generate.h"

namespace hadal::trace::gen {
namespace {

constexpr int64_t kTimeMostNs = int64_t{3'600} * 1'000'000'000;
constexpr int64_t kCountMost = 1'000'000;

// In the order of enum FaultKind.
constexpr std::array<FaultInfo, kNumFaultKinds> kFaults = {{
    {"straggler", '%', 20, 1000},
    {"late-host", 't', 40'000, 1'000'000'000},
    {"slow-link", '%', 50, 1000},
    {"barrier-growth", 't', 700'000, 1'000'000'000},
    {"sync-stall", 'n', 4, kCountMost},
    {"malloc-storm", 'n', 8, kCountMost},
    {"pageable-copy", 'n', 8, kCountMost},
    {"low-occupancy", '%', 20, 100},
    {"wave-quantised", '%', 20, 100},
    {"pdl-overlap", '%', 30, 100},
    {"missing-kernels", 'n', 10, kCountMost},
    {"negative-delay", 'n', 1, kCountMost},
    {"zero-times", '%', 50, 100},
    {"long-duration", 'n', 1, kCountMost},
    {"overrun", 'n', 1, kCountMost},
    {"nesting-noise", 'n', 10, kCountMost},
    {"unescaped-quote", 'n', 3, kCountMost},
    {"control-character", 'n', 3, kCountMost},
    {"invalid-utf8", 'n', 3, kCountMost},
    {"trailing-comma", 'n', 3, kCountMost},
    {"huge-integer", 'n', 3, kCountMost},
    {"number-strings", 'n', 3, kCountMost},
    {"not-a-number", 'n', 3, kCountMost},
    {"no-rank", '-', 0, 0},
    {"late-metadata", '-', 0, 0},
    {"bare-array", '-', 0, 0},
    {"unfinished-array", '-', 0, 0},
    {"truncated", '-', 0, 0},
}};

/// A number with a unit behind it; nothing if it is no finite number of at least 0.
struct Quantity {
  double value = -1;
  std::string_view unit;
};
Quantity parse_quantity(std::string_view text) {
  Quantity q;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), q.value);
  if (error != std::errc() || !std::isfinite(q.value)) return {};
  q.unit = text.substr(static_cast<size_t>(end - text.data()));
  return q;
}

std::string shown(std::string_view text) {
  std::string out(text.substr(0, 40));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < ' ' || c == 127) c = '?';
  }
  return out;
}

Result<int64_t> parse_amount(std::string_view text, const FaultInfo& fault) {
  if (fault.unit == 't') return parse_time(text);
  const Quantity q = parse_quantity(text);
  const bool unit_fits = q.unit.empty() || (fault.unit == '%' && q.unit == "%");
  if (fault.unit == '-' || !unit_fits || q.value < 0 || q.value != std::floor(q.value) ||
      q.value > 1e9) {
    return fail(Code::kInvalidArgument,
                fmt::format("'{}' is no amount of {}, which takes {}", shown(text), fault.name,
                            fault.unit == '-'   ? "none"
                            : fault.unit == '%' ? "whole percents like 20%"
                                                : "a count like 3"));
  }
  return static_cast<int64_t>(q.value);
}

Result<> check_range(std::string_view what, int64_t value, int64_t least, int64_t most) {
  if (value >= least && value <= most) return {};
  return fail(Code::kInvalidArgument,
              fmt::format("{} is {}; allowed are {} to {}", what, value, least, most));
}

Result<> check_fault(const Scenario& scenario, const Fault& fault) {
  const FaultInfo& about = info(fault.kind);
  TRY(check_range(fmt::format("the rank of fault {}", about.name), fault.rank, -1,
                  scenario.ranks - 1));
  TRY(check_range(fmt::format("the amount of fault {}", about.name), fault.amount, 0, about.most));
  const auto only = [&](bool is, std::string_view rule) -> Result<> {
    if (is) return {};
    return fail(Code::kInvalidArgument, fmt::format("fault {} {}", about.name, rule));
  };
  switch (fault.kind) {
    case FaultKind::kLowOccupancy:
    case FaultKind::kWaveQuantised:
      return only(fault.rank < 0, "strikes all ranks, for a kernel's shape is the model's");
    case FaultKind::kBarrierGrowth:
      return only(scenario.schedule == Schedule::kDualPipe,
                  "needs schedule dualpipe, which alone has barriers");
    case FaultKind::kZeroTimes:
      return only(scenario.format <= Format::kG2,
                  "needs format G1 or G2, where a time of 0 cannot be true");
    case FaultKind::kNestingNoise:
      return only(scenario.format >= Format::kG3 && !scenario.whole_microseconds,
                  "needs nanoseconds: format G3 or G4");
    default: return {};
  }
}

}  // namespace

const FaultInfo& info(FaultKind kind) {
  return kFaults[static_cast<size_t>(kind)];
}

Result<int64_t> parse_time(std::string_view text) {
  constexpr std::pair<std::string_view, double> kUnits[] = {
      {"ns", 1}, {"us", 1e3}, {"", 1e3}, {"ms", 1e6}, {"s", 1e9}};
  const Quantity q = parse_quantity(text);
  for (const auto& [unit, ns] : kUnits) {
    if (q.unit == unit && q.value >= 0 && q.value * ns <= double{kTimeMostNs}) {
      return std::llround(q.value * ns);
    }
  }
  return fail(
      Code::kInvalidArgument,
      fmt::format("'{}' is no time; allowed are numbers up to an hour with ns, us, ms or s, "
                  "like 5ms",
                  shown(text)));
}

Result<int64_t> parse_bytes(std::string_view text) {
  constexpr std::pair<std::string_view, double> kUnits[] = {
      {"", 1}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}};
  const Quantity q = parse_quantity(text);
  for (const auto& [unit, bytes] : kUnits) {
    if (q.unit == unit && q.value > 0 && q.value * bytes <= 1e13) {
      return std::max<int64_t>(1, std::llround(q.value * bytes));
    }
  }
  return fail(Code::kInvalidArgument,
              fmt::format("'{}' is no size; allowed are numbers up to 10 T with K, M or G, like 1G",
                          shown(text)));
}

Result<Fault> parse_fault(std::string_view text) {
  const size_t colon = std::min(text.find(':'), text.size());
  const std::string_view name = text.substr(0, colon);
  const auto about = std::find_if(kFaults.begin(), kFaults.end(),
                                  [&](const FaultInfo& f) { return f.name == name; });
  if (about == kFaults.end()) {
    std::string names;
    for (const FaultInfo& f : kFaults)
      names += fmt::format("{}{}", names.empty() ? "" : ", ", f.name);
    return fail(Code::kInvalidArgument,
                fmt::format("'{}' is no fault; there are {}", shown(name), names));
  }
  Fault fault;
  fault.kind = static_cast<FaultKind>(about - kFaults.begin());
  fault.amount = about->amount;
  if (colon == text.size()) return fault;
  std::string_view rest = text.substr(colon + 1);
  const size_t second = std::min(rest.find(':'), rest.size());
  const std::string_view rank = rest.substr(0, second);
  if (rank != "all") {
    const auto [end, error] = std::from_chars(rank.data(), rank.data() + rank.size(), fault.rank);
    if (error != std::errc() || end != rank.data() + rank.size() || fault.rank < 0) {
      return fail(Code::kInvalidArgument,
                  fmt::format("'{}' in fault {} is no rank; allowed are 'all' and numbers from 0: "
                              "NAME:RANK:AMOUNT",
                              shown(rank), about->name));
    }
  }
  if (second < rest.size()) fault.amount = TRY(parse_amount(rest.substr(second + 1), *about));
  return fault;
}

void spread_clocks(Scenario& scenario, int64_t offset_ns, double drift_ppm) {
  Rng rng(scenario.seed);
  rng = rng.fork(0x636c6f636b);  // "clock"
  const auto ranks = static_cast<size_t>(std::max(scenario.ranks, 0));
  scenario.clock_offsets_ns.assign(ranks, 0);
  scenario.clock_drifts_ppm.assign(ranks, 0);
  for (size_t r = 1; r < ranks; ++r) {
    const auto width = static_cast<uint64_t>(std::max<int64_t>(0, offset_ns));
    scenario.clock_offsets_ns[r] =
        static_cast<int64_t>(rng.below(2 * width + 1)) - static_cast<int64_t>(width);
    scenario.clock_drifts_ppm[r] = (2 * rng.uniform() - 1) * drift_ppm;
  }
}

Result<> validate(const Scenario& scenario) {
  TRY(check_range("ranks", scenario.ranks, 1, 512));
  TRY(check_range("layers", scenario.layers, 1, 1000));
  TRY(check_range("micro_batches", scenario.micro_batches, 1, 1000));
  TRY(check_range("steps", scenario.steps, 1, 1'000'000));
  TRY(check_range("bytes", scenario.bytes, 0, 10'000'000'000'000));
  for (const int64_t offset_ns : scenario.clock_offsets_ns) {
    TRY(check_range("a clock offset in ns", offset_ns, -kTimeMostNs, kTimeMostNs));
  }
  for (const double drift_ppm : scenario.clock_drifts_ppm) {
    if (!(std::abs(drift_ppm) <= 1000)) {
      return fail(Code::kInvalidArgument,
                  fmt::format("a clock drift is {} ppm; allowed are -1000 to 1000", drift_ppm));
    }
  }
  for (const Fault& fault : scenario.faults) TRY(check_fault(scenario, fault));
  return {};
}

}  // namespace hadal::trace::gen
