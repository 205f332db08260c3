// Synthetic traces, held against what their own text says: every answer is computed again from the
// parsed JSON by the most naive method there is, counting microseconds one by one.
#include "trace/generate.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <zlib.h>

#include "base/files.h"

namespace hadal::trace::gen {
namespace {

using Json = nlohmann::ordered_json;

Scenario small(Schedule schedule, Format format = Format::kG2, int ranks = 2) {
  Scenario scenario;
  scenario.schedule = schedule;
  scenario.format = format;
  scenario.ranks = ranks;
  scenario.layers = 2;
  return scenario;
}

Fault fault(std::string_view text) {
  const Result<Fault> parsed = parse_fault(text);
  EXPECT_TRUE(parsed.has_value()) << text;
  return parsed.value_or(Fault{});
}

Generated made(const Scenario& scenario) {
  Result<Generated> result = generate(scenario);
  EXPECT_TRUE(result.has_value()) << (result ? "" : result.error().message);
  return result ? *std::move(result) : Generated{};
}

constexpr Schedule kSchedules[] = {
    Schedule::kSequential, Schedule::kOverlapped, Schedule::kDualPipe,      Schedule::kFsdp,
    Schedule::kDdp,        Schedule::kInference,  Schedule::kInferenceEager};

// --- the oracle ---------------------------------------------------------------------------------

struct Kernel {
  int64_t start = 0, duration = 0, stream = 0, correlation = 0, seq = -1;  // times in us
  std::string name, category;
  bool is_communication() const {
    for (const char* part : {"nccl", "internode::", "cross_device_reduce"}) {
      if (name.find(part) != std::string::npos) return true;
    }
    return false;
  }
  char lane() const { return category != "kernel" ? 'm' : is_communication() ? 'c' : 'k'; }
};
struct Seen {
  std::vector<Kernel> kernels;  // copies and memsets as well
  std::map<int64_t, Kernel> calls;
  std::vector<Kernel> regions;  // annotations of the host, in its order
  std::map<std::string, int64_t> counts;
};

Seen look(const std::string& document) {
  Seen seen;
  const Json json = Json::parse(document);
  for (const Json& e : json.at("traceEvents")) {
    const std::string phase = e.at("ph"), category = e.value("cat", "");
    ++seen.counts[phase == "X" || category == "cpu_instant_event" ? category : phase];
    if (phase != "X") continue;
    Kernel k;
    k.name = e.at("name");
    k.category = category;
    if (!e.at("ts").is_number_integer()) continue;
    k.start = e.at("ts");
    k.duration = e.at("dur");
    k.correlation = e.at("args").value("correlation", int64_t{0});
    k.stream = e.at("args").value("stream", int64_t{-1});
    if (category == "kernel" || category == "gpu_memcpy" || category == "gpu_memset") {
      seen.kernels.push_back(k);
    } else if (category == "cuda_runtime" || category == "cuda_driver") {
      seen.calls[k.correlation] = k;
    } else if (category == "user_annotation") {
      seen.regions.push_back(k);
    }
  }
  return seen;
}

/// One character per microsecond.
std::vector<uint8_t> ticks(const std::vector<Kernel>& kernels, int64_t& first) {
  int64_t last = INT64_MIN;
  first = INT64_MAX;
  for (const Kernel& k : kernels) {
    first = std::min(first, k.start);
    last = std::max(last, k.start + k.duration);
  }
  std::vector<uint8_t> line(kernels.empty() ? 0 : static_cast<size_t>(last - first));
  for (const Kernel& k : kernels) {
    const uint8_t bit = k.lane() == 'k' ? 1 : k.lane() == 'c' ? 2 : 4;
    for (int64_t t = k.start; t < k.start + k.duration; ++t)
      line[static_cast<size_t>(t - first)] |= bit;
  }
  return line;
}

Times count(const std::vector<Kernel>& kernels) {
  Times t;
  int64_t first = 0;
  std::vector<uint8_t> line = ticks(kernels, first);
  line.push_back(0);
  int64_t piece = 0;
  for (const uint8_t tick : line) {
    t.busy_ns += tick != 0;
    t.compute_ns += (tick & 1) != 0;
    t.communication_ns += (tick & 2) != 0;
    t.memory_ns += (tick & 4) != 0;
    t.overlap_ns += (tick & 3) == 3;
    t.exposed_communication_ns += (tick & 3) == 2;
    t.exposed_memory_ns += tick == 4;
    if ((tick & 3) == 2) {
      ++piece;
    } else if (piece > 0) {
      ++t.exposed_pieces;
      t.structural_pieces += piece > 10;
      t.structural_exposed_ns += piece > 10 ? piece : 0;
      piece = 0;
    }
  }
  t.span_ns = static_cast<int64_t>(line.size()) - 1;
  t.idle_ns = t.span_ns - t.busy_ns;
  return t;
}

void expect_times(const Times& answer, const Times& counted_us) {
  EXPECT_EQ(answer.span_ns, 1000 * counted_us.span_ns);
  EXPECT_EQ(answer.busy_ns, 1000 * counted_us.busy_ns);
  EXPECT_EQ(answer.idle_ns, 1000 * counted_us.idle_ns);
  EXPECT_EQ(answer.compute_ns, 1000 * counted_us.compute_ns);
  EXPECT_EQ(answer.communication_ns, 1000 * counted_us.communication_ns);
  EXPECT_EQ(answer.memory_ns, 1000 * counted_us.memory_ns);
  EXPECT_EQ(answer.overlap_ns, 1000 * counted_us.overlap_ns);
  EXPECT_EQ(answer.exposed_communication_ns, 1000 * counted_us.exposed_communication_ns);
  EXPECT_EQ(answer.exposed_memory_ns, 1000 * counted_us.exposed_memory_ns);
  EXPECT_EQ(answer.exposed_pieces, counted_us.exposed_pieces);
  EXPECT_EQ(answer.structural_exposed_ns, 1000 * counted_us.structural_exposed_ns);
  EXPECT_EQ(answer.structural_pieces, counted_us.structural_pieces);
}

// --- answers against the text
// ---------------------------------------------------------------------

class EverySchedule : public testing::TestWithParam<Schedule> {};
INSTANTIATE_TEST_SUITE_P(All, EverySchedule, testing::ValuesIn(kSchedules), [](const auto& test) {
  std::string name(kScheduleNames[static_cast<size_t>(test.param)]);
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST_P(EverySchedule, TimesAreWhatCountingMicrosecondsGives) {
  const Generated g = made(small(GetParam()));
  for (size_t r = 0; r < g.documents.size(); ++r) {
    expect_times(g.answers.ranks[r].times, count(look(g.documents[r]).kernels));
  }
  const Times& t = g.answers.ranks[0].times;
  EXPECT_EQ(t.span_ns, t.compute_ns + t.exposed_communication_ns + t.exposed_memory_ns + t.idle_ns);
}

TEST_P(EverySchedule, FaultsDoNotConfuseTheAnswers) {
  Scenario scenario = small(GetParam(), Format::kG2, 3);
  for (const char* text : {"straggler:1:20%", "late-host:2:30us", "slow-link:0:40%", "sync-stall",
                           "malloc-storm", "pageable-copy", "low-occupancy", "wave-quantised",
                           "pdl-overlap:all:50%", "missing-kernels", "negative-delay"}) {
    scenario.faults.push_back(fault(text));
  }
  scenario.clock_offsets_ns = {0, 5'000'000, -7'000'000};
  const Generated g = made(scenario);
  for (size_t r = 0; r < g.documents.size(); ++r) {
    expect_times(g.answers.ranks[r].times, count(look(g.documents[r]).kernels));
  }
}

TEST_P(EverySchedule, EventsAreCounted) {
  for (const Format format : {Format::kG2, Format::kG3, Format::kG4}) {
    Scenario scenario = small(GetParam(), format, 1);
    scenario.stacks = scenario.shapes = true;
    scenario.faults = {fault("malloc-storm")};
    const Generated g = made(scenario);
    std::map<std::string, int64_t> seen = look(g.documents[0]).counts;
    const EventCounts& e = g.answers.ranks[0].events;
    EXPECT_GT(e.memory_instant, 0);
    EXPECT_EQ(seen["cpu_op"], e.cpu_op);
    EXPECT_EQ(seen["user_annotation"], e.user_annotation);
    EXPECT_EQ(seen["gpu_user_annotation"], e.gpu_user_annotation);
    EXPECT_EQ(seen["python_function"], e.python_function);
    EXPECT_EQ(seen["cpu_instant_event"], e.memory_instant);
    EXPECT_EQ(seen["cuda_runtime"], e.runtime);
    EXPECT_EQ(seen["cuda_driver"], e.driver);
    EXPECT_EQ(seen["kernel"], e.kernel);
    EXPECT_EQ(seen["gpu_memcpy"], e.memcpy);
    EXPECT_EQ(seen["gpu_memset"], e.memset);
    EXPECT_EQ(seen["s"], e.flow_start);
    EXPECT_EQ(seen["f"], e.flow_finish);
    EXPECT_EQ(seen["M"], e.metadata);
    EXPECT_EQ(seen["Trace"] + seen["i"], e.other);
    EXPECT_EQ(e.kernel + e.memcpy + e.memset, static_cast<int64_t>(g.activities[0].size()));
    EXPECT_EQ(static_cast<int64_t>(g.documents[0].size()), g.answers.ranks[0].bytes);
  }
}

TEST_P(EverySchedule, RegionsOwnWhatTheyLaunch) {
  const Generated g = made(small(GetParam(), Format::kG2, 1));
  const Seen seen = look(g.documents[0]);
  const std::vector<RegionAnswer>& answers = g.answers.ranks[0].region_list;
  std::map<std::string, int> index;
  size_t next = 0;
  for (const Kernel& region : seen.regions) {
    if (region.name.starts_with("ProfilerStep") || region.name == "1F1B") continue;
    std::vector<Kernel> own;
    for (const Kernel& k : seen.kernels) {
      const int64_t launched = seen.calls.at(k.correlation).start;
      if (launched >= region.start && launched < region.start + region.duration) own.push_back(k);
    }
    ASSERT_LT(next, answers.size());
    const RegionAnswer& answer = answers[next++];
    EXPECT_EQ(answer.name, region.name);
    EXPECT_EQ(answer.index, index[region.name]++);
    EXPECT_EQ(answer.activities, static_cast<int64_t>(own.size())) << region.name;
    const Times t = count(own);
    EXPECT_EQ(answer.busy_ns, 1000 * t.busy_ns) << region.name;
    EXPECT_EQ(answer.gpu_end_ns - answer.gpu_start_ns, 1000 * t.span_ns) << region.name;
  }
  EXPECT_EQ(next, answers.size());
  EXPECT_GT(next, 0U);
}

TEST_P(EverySchedule, LaunchDelaysAndKernelTotals) {
  Scenario scenario = small(GetParam(), Format::kG2, 1);
  scenario.faults = {fault("negative-delay:0:2")};
  const Generated g = made(scenario);
  const Seen seen = look(g.documents[0]);
  std::vector<int64_t> delays;
  int64_t negative = 0, total = 0;
  std::map<std::string, std::pair<int64_t, int64_t>> kernels;
  for (const Kernel& k : seen.kernels) {
    const Kernel& call = seen.calls.at(k.correlation);
    const int64_t delay = k.start - call.start - call.duration;
    negative += delay < 0;
    delays.push_back(std::max<int64_t>(0, delay));
    total += delays.back();
    ++kernels[k.name].first;
    kernels[k.name].second += k.duration;
  }
  std::sort(delays.begin(), delays.end());
  const LaunchDelays& answer = g.answers.ranks[0].launch_delays;
  EXPECT_EQ(answer.count, static_cast<int64_t>(delays.size()));
  EXPECT_EQ(answer.total_ns, 1000 * total);
  EXPECT_EQ(answer.median_ns, 1000 * delays[(delays.size() - 1) / 2]);
  EXPECT_EQ(answer.max_ns, 1000 * delays.back());
  EXPECT_EQ(answer.negative, negative);
  EXPECT_GT(negative, 0);
  ASSERT_EQ(g.answers.ranks[0].kernels.size(), kernels.size());
  for (const KernelTotal& k : g.answers.ranks[0].kernels) {
    EXPECT_EQ(k.count, kernels[std::string(k.name)].first) << k.name;
    EXPECT_EQ(k.total_ns, 1000 * kernels[std::string(k.name)].second) << k.name;
  }
}

// What waits for the other ranks, in the order of its start.
std::vector<Kernel> collectives(const std::string& document) {
  std::vector<Kernel> found;
  for (const Kernel& k : look(document).kernels) {
    const bool waits = k.name.find("notify") != std::string::npos ||
                       k.name.find("nccl") != std::string::npos ||
                       k.name.find("cross_device") != std::string::npos;
    if (waits) found.push_back(k);
  }
  std::sort(found.begin(), found.end(),
            [](const Kernel& a, const Kernel& b) { return a.start < b.start; });
  return found;
}

TEST_P(EverySchedule, CollectivesEndTogetherAndWaitsAddUp) {
  const Generated g = made(small(GetParam(), Format::kG2, 3));
  std::vector<std::vector<Kernel>> ranks;
  ranks.reserve(g.documents.size());
  for (const std::string& document : g.documents) ranks.push_back(collectives(document));
  const auto n = static_cast<size_t>(g.answers.num_collectives);
  ASSERT_GT(n, 0U);
  ASSERT_EQ(g.answers.collectives.size(), n);
  std::vector<int64_t> wait_us(3);
  for (size_t i = 0; i < n; ++i) {
    int64_t last = 0;
    for (const auto& rank : ranks) last = std::max(last, rank.at(i).start);
    for (size_t r = 0; r < 3; ++r) {
      const Kernel& k = ranks[r][i];
      wait_us[r] += last - k.start;
      EXPECT_EQ(k.start + k.duration, ranks[0][i].start + ranks[0][i].duration);
      EXPECT_EQ(1000 * (k.start - ranks[0][i].start),
                g.answers.collectives[i].start_ns[r] - g.answers.collectives[i].start_ns[0]);
      EXPECT_EQ(g.answers.collectives[i].kernel, k.name);
    }
  }
  for (size_t r = 0; r < 3; ++r) {
    EXPECT_EQ(g.answers.ranks[r].collective_wait_ns, 1000 * wait_us[r]);
    EXPECT_GE(wait_us[r], wait_us[static_cast<size_t>(g.answers.straggler)]);
  }
}

// --- format
// ---------------------------------------------------------------------------------------

TEST_P(EverySchedule, IsJsonInEveryFormatAndDeterministic) {
  for (size_t f = 0; f < kFormatNames.size(); ++f) {
    Scenario scenario = small(GetParam(), static_cast<Format>(f));
    const Generated a = made(scenario), b = made(scenario);
    EXPECT_EQ(a.documents, b.documents);
    EXPECT_EQ(to_json(scenario, a.answers), to_json(scenario, b.answers));
    EXPECT_TRUE(Json::accept(to_json(scenario, a.answers)));
    for (const std::string& document : a.documents) EXPECT_TRUE(Json::accept(document));
    scenario.seed = 2;
    EXPECT_NE(made(scenario).documents, a.documents);
  }
}

TEST_P(EverySchedule, FormatsShowOneSchedule) {
  Scenario scenario = small(GetParam(), Format::kG2, 1);
  scenario.whole_microseconds = true;
  const Generated g2 = made(scenario);
  for (const Format format : {Format::kG1, Format::kG3, Format::kG4}) {
    scenario.format = format;
    const Generated other = made(scenario);
    ASSERT_EQ(other.activities[0].size(), g2.activities[0].size());
    for (size_t i = 0; i < g2.activities[0].size(); ++i) {
      const Activity &a = g2.activities[0][i], &b = other.activities[0][i];
      EXPECT_EQ(a.start_ns, b.start_ns);
      EXPECT_EQ(a.end_ns, b.end_ns);
      EXPECT_EQ(a.name, b.name);
      EXPECT_EQ(a.stream, b.stream);
    }
    EXPECT_EQ(other.answers.ranks[0].critical_path.total_ns,
              g2.answers.ranks[0].critical_path.total_ns);
  }
}

TEST(Generate, NanosecondFormatsWriteTheModelsTimes) {
  Scenario scenario = small(Schedule::kDdp, Format::kG3, 1);
  scenario.clock_offsets_ns = {1'234'567};
  scenario.clock_drifts_ppm = {-40};
  const Generated g = made(scenario);
  const Json json = Json::parse(g.documents[0]);
  EXPECT_EQ(json.at("baseTimeNanoseconds").get<int64_t>() % (int64_t{7'889'238} * 1'000'000'000),
            0);
  // Digit by digit: a double would lose the last nanosecond.
  const std::string& text = g.documents[0];
  const std::string mark = "\"cat\": \"Trace\", \"ts\": ";
  const size_t at = text.find(mark) + mark.size();
  const int64_t start_ns =
      std::stoll(text.substr(at)) * 1000 + std::stoll(text.substr(text.find('.', at) + 1, 3));
  const auto us = [](int64_t ns) { return fmt::format("{}.{:03}", ns / 1000, ns % 1000); };
  ASSERT_FALSE(g.activities[0].empty());
  for (const Activity& a : g.activities[0]) {
    const std::string times = fmt::format("\"ts\": {}, \"dur\": {},", us(start_ns + a.start_ns),
                                          us(a.end_ns - a.start_ns));
    EXPECT_NE(text.find(times), std::string::npos) << times;
  }
}

// The keys of the first event of each kind stand in the order of a real file.
TEST(Generate, LooksLikeTheRealThing) {
  const std::string path = HADAL_SOURCE_DIR "/../shared/data/trace/train.json";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there";
  const auto shapes = [](const Json& json) {
    std::map<std::string, std::string> keys;
    for (const Json& e : json.at("traceEvents")) {
      std::string kind = e.at("ph").get<std::string>() + e.value("cat", "");
      if (!e.contains("cat")) kind += e.at("name");
      if (kind == "Xcpu_op" && e.at("args").contains("Sequence number")) continue;
      std::string order;
      for (const auto& [key, value] : e.items()) order += key + " ";
      if (e.contains("args")) {
        for (const auto& [key, value] : e.at("args").items()) order += key + "|";
      }
      keys.emplace(kind, order);
    }
    std::string head;
    for (const auto& [key, value] : json.items()) head += key + " ";
    keys["head"] = head;
    return keys;
  };
  const auto real = shapes(Json::parse(read_file(path).value()));
  auto ours = shapes(Json::parse(made(small(Schedule::kDualPipe)).documents[0]));
  for (const auto& [kind, order] : real) EXPECT_EQ(ours[kind], order) << kind;
}

// --- what schedules and faults are there for
// --------------------------------------------------------

TEST(Generate, OverlappedHidesAllAndSequentialNothing) {
  for (const Format format : {Format::kG2, Format::kG3}) {
    for (const RankAnswers& r : made(small(Schedule::kOverlapped, format, 4)).answers.ranks) {
      EXPECT_EQ(r.times.exposed_communication_ns, 0);
      EXPECT_GT(r.times.communication_ns, 0);
    }
    for (const RankAnswers& r : made(small(Schedule::kSequential, format, 4)).answers.ranks) {
      EXPECT_EQ(r.times.overlap_ns, 0);
      EXPECT_GT(r.times.communication_ns, 0);
      EXPECT_EQ(r.critical_path.communication_ns, r.times.communication_ns);
    }
  }
}

TEST(Generate, GraphsLaunchManyKernelsAndEagerDecodingIsLaunchBound) {
  const Generated graphs = made(small(Schedule::kInference, Format::kG3, 1));
  std::map<uint32_t, int> launched;
  for (const Activity& a : graphs.activities[0]) ++launched[a.correlation];
  EXPECT_TRUE(std::any_of(launched.begin(), launched.end(),
                          [](const auto& call) { return call.second > 10; }));
  const Generated eager = made(small(Schedule::kInferenceEager, Format::kG3, 1));
  EXPECT_LT(eager.answers.ranks[0].launch_delays.median_ns, 10'000);
  EXPECT_GT(eager.answers.ranks[0].critical_path.host_ns,
            eager.answers.ranks[0].critical_path.total_ns / 2);
  EXPECT_GT(made(small(Schedule::kDualPipe)).answers.ranks[0].launch_delays.median_ns, 1'000'000);
}

TEST(Generate, CriticalPathReachesFromTheFirstCallToTheLastEnd) {
  Scenario scenario = small(Schedule::kDualPipe, Format::kG3);
  scenario.steps = 1;
  scenario.faults = {fault("sync-stall"), fault("pdl-overlap")};
  const Generated g = made(scenario);
  for (size_t r = 0; r < 2; ++r) {
    int64_t last_end = 0, first_launch = INT64_MAX;
    for (const Activity& a : g.activities[r]) {
      last_end = std::max(last_end, a.end_ns);
      first_launch = std::min(first_launch, a.launch_start_ns);
    }
    const int64_t total = g.answers.ranks[r].critical_path.total_ns;
    EXPECT_GT(total, last_end - first_launch);
    EXPECT_LT(total, last_end);
  }
}

TEST(Generate, TheStragglerIsFound) {
  for (const Schedule schedule : {Schedule::kDualPipe, Schedule::kDdp, Schedule::kSequential}) {
    Scenario scenario = small(schedule, Format::kG3, 8);
    scenario.faults = {fault("straggler:3:20%")};
    const Answers answers = made(scenario).answers;
    EXPECT_EQ(answers.straggler, 3);
    EXPECT_GT(answers.straggler_lead_ns, 1'000'000);
    ASSERT_EQ(answers.injected.size(), 1U);
    EXPECT_EQ(answers.injected[0].fault.rank, 3);
    const auto compute = static_cast<double>(answers.ranks[3].times.compute_ns);
    EXPECT_NEAR(compute / static_cast<double>(answers.ranks[2].times.compute_ns), 1.2, 0.02);
  }
}

TEST(Generate, ClocksShiftFilesAndNothingElse) {
  Scenario scenario = small(Schedule::kSequential, Format::kG2, 3);
  const Generated plain = made(scenario);
  spread_clocks(scenario, 5'000'000, 0);
  const Generated shifted = made(scenario);
  std::set<int64_t> offsets;
  for (size_t r = 0; r < 3; ++r) {
    const int64_t offset_us = shifted.answers.ranks[r].clock_offset_ns / 1000;
    offsets.insert(offset_us);
    const std::vector<Kernel> a = look(plain.documents[r]).kernels,
                              b = look(shifted.documents[r]).kernels;
    for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i].start + offset_us, b[i].start);
    EXPECT_EQ(plain.answers.ranks[r].collective_wait_ns,
              shifted.answers.ranks[r].collective_wait_ns);
  }
  EXPECT_EQ(offsets.size(), 3U);
  EXPECT_EQ(shifted.answers.ranks[0].clock_offset_ns, 0);
}

TEST(Generate, JobFaultsAreVisible) {
  const Answers plain = made(small(Schedule::kDualPipe, Format::kG3)).answers;
  const auto with = [](std::string_view text) {
    Scenario scenario = small(Schedule::kDualPipe, Format::kG3);
    scenario.faults = {fault(text)};
    return made(scenario).answers;
  };
  const Times& before = plain.ranks[0].times;
  EXPECT_GT(with("late-host:all:2ms").ranks[0].times.idle_ns, 10 * before.idle_ns);
  EXPECT_GT(with("slow-link:all:100%").ranks[0].times.transfer_ns, before.transfer_ns * 3 / 2);
  EXPECT_GT(with("barrier-growth:all:5ms").ranks[0].times.barrier_ns,
            before.barrier_ns + 2 * 4 * 4'000'000);
  EXPECT_GT(with("sync-stall:all:8").ranks[0].times.idle_ns, before.idle_ns);
  EXPECT_EQ(with("malloc-storm:all:5").ranks[0].events.memory_instant, 10);
  EXPECT_EQ(with("pageable-copy:all:5").ranks[0].events.memcpy, plain.ranks[0].events.memcpy + 10);
  EXPECT_GT(with("low-occupancy:all:100%").ranks[0].times.compute_ns, before.compute_ns * 3 / 2);
  EXPECT_GT(with("wave-quantised:all:100%").ranks[0].times.compute_ns, before.compute_ns * 5 / 4);
  EXPECT_EQ(with("missing-kernels:1:7").ranks[1].launch_delays.count,
            plain.ranks[1].launch_delays.count - 7);
  for (const char* text : {"straggler", "late-host", "slow-link", "sync-stall", "malloc-storm",
                           "pageable-copy", "low-occupancy", "wave-quantised", "pdl-overlap"}) {
    const Answers answers = with(text);
    ASSERT_EQ(answers.injected.size(), 2U) << text;
    for (const Injected& i : answers.injected) {
      EXPECT_GT(i.count, 0) << text;
      EXPECT_GT(i.extra_ns, 0) << text;
    }
  }
}

// --- malformations
// ----------------------------------------------------------------------------------

Generated damaged(std::string_view text, Format format = Format::kG2) {
  Scenario scenario = small(Schedule::kDualPipe, format, 1);
  scenario.faults = {fault(text)};
  return made(scenario);
}

size_t occurrences(const std::string& text, std::string_view part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST(Generate, MalformationsAreInTheText) {
  EXPECT_EQ(occurrences(damaged("unescaped-quote").documents[0], "(\"inner\")"), 3U);
  EXPECT_EQ(damaged("unescaped-quote").answers.ranks[0].events.unreadable, 3);
  EXPECT_EQ(occurrences(damaged("control-character").documents[0], "\x01\x1f\t"), 3U);
  EXPECT_EQ(occurrences(damaged("invalid-utf8:all:5").documents[0], "\xff\xfe"), 5U);
  EXPECT_EQ(occurrences(damaged("trailing-comma").documents[0], ", \n    }"), 3U);
  EXPECT_EQ(occurrences(damaged("huge-integer").documents[0], "18374686479671623680"), 3U);
  EXPECT_EQ(occurrences(damaged("number-strings").documents[0], "\"ts\": \"1"), 3U);
  EXPECT_EQ(occurrences(damaged("not-a-number").documents[0], "\"blocks per SM\": inf"), 3U);
  EXPECT_EQ(occurrences(damaged("no-rank").documents[0], "distributedInfo"), 0U);
  const std::string late = damaged("late-metadata").documents[0];
  EXPECT_TRUE(Json::accept(late));
  EXPECT_GT(late.find("distributedInfo"), late.find("traceEvents"));
  EXPECT_TRUE(Json::parse(damaged("bare-array").documents[0]).is_array());
  const std::string unfinished = damaged("unfinished-array").documents[0];
  EXPECT_FALSE(Json::accept(unfinished));
  EXPECT_TRUE(Json::accept(unfinished + "]"));
}

TEST(Generate, ATruncatedFileEndsInsideOfItsLastEvent) {
  const Generated g = damaged("truncated");
  const int64_t at = g.answers.ranks[0].truncated_at;
  const std::string& text = g.documents[0];
  ASSERT_GT(at, 0);
  ASSERT_LT(at, static_cast<int64_t>(text.size()));
  EXPECT_EQ(text[static_cast<size_t>(at)], '{');
  // Without the broken event and with an end, it is whole.
  const std::string whole = text.substr(0, text.rfind(',', static_cast<size_t>(at))) + "]}";
  expect_times(g.answers.ranks[0].times, count(look(whole).kernels));
}

TEST(Generate, ZeroTimesAreLeftOutOfTheAnswers) {
  const Generated g = damaged("zero-times");
  std::vector<Kernel> timed;
  size_t zeros = 0;
  for (const Kernel& k : look(g.documents[0]).kernels) {
    if (k.start == 0) {
      ++zeros;
    } else {
      timed.push_back(k);
    }
  }
  EXPECT_GT(zeros, timed.size() / 2);
  expect_times(g.answers.ranks[0].times, count(timed));
}

TEST(Generate, WhatLastsTooLongIsClippedAtTheNextOfItsStream) {
  for (const char* text : {"long-duration:all:3", "overrun:all:3"}) {
    const Generated g = damaged(text);
    std::vector<Kernel> kernels = look(g.documents[0]).kernels;
    int clipped = 0;
    for (Kernel& k : kernels) {
      int64_t next = INT64_MAX;
      for (const Kernel& other : kernels) {
        if (other.stream == k.stream && other.start > k.start) next = std::min(next, other.start);
      }
      if (next == INT64_MAX || k.start + k.duration <= next) continue;
      EXPECT_GE(k.start + k.duration, next + 5000);
      ++clipped;
      k.duration = next - k.start;
    }
    EXPECT_EQ(clipped, 6) << text;  // three in each of two steps
    expect_times(g.answers.ranks[0].times, count(kernels));
  }
}

TEST(Generate, NestingNoiseIsOneNanosecond) {
  const Generated g = damaged("nesting-noise", Format::kG3);
  ASSERT_EQ(g.answers.injected.size(), 1U);
  EXPECT_EQ(g.answers.injected[0].count, 10);
}

// --- sizes, files, errors
// -----------------------------------------------------------------------------

TEST(Generate, AFileHasTheLengthAskedFor) {
  for (const Schedule schedule : kSchedules) {
    for (const int64_t bytes : {700'000, 3'000'000, 10'000'000}) {
      Scenario scenario = small(schedule, Format::kG3, 1);
      scenario.micro_batches = 2;
      scenario.bytes = bytes;
      std::vector<Sink> sinks = {[](std::string_view) -> Result<> { return {}; }};
      const Result<Answers> answers = generate(scenario, sinks);
      ASSERT_TRUE(answers.has_value());
      EXPECT_NEAR(static_cast<double>(answers->ranks[0].bytes), static_cast<double>(bytes),
                  0.02 * static_cast<double>(bytes))
          << kScheduleNames[static_cast<size_t>(schedule)];
    }
  }
}

TEST(Generate, FilledFilesAreTrueToo) {
  Scenario scenario = small(Schedule::kFsdp, Format::kG2, 2);
  scenario.bytes = 1'500'000;
  const Generated g = made(scenario);
  for (size_t r = 0; r < 2; ++r) {
    const Seen seen = look(g.documents[r]);
    expect_times(g.answers.ranks[r].times, count(seen.kernels));
    EXPECT_EQ(seen.counts.at("cuda_runtime"), g.answers.ranks[r].events.runtime);
  }
}

class InDirectory : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::temp_directory_path() / "hadal_generate_XXXXXX";
    ASSERT_NE(mkdtemp(directory_.data()), nullptr);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::string directory_;
};

std::string gunzip(const std::string& path) {
  std::string text;
  gzFile file = gzopen(path.c_str(), "rb");
  EXPECT_NE(file, nullptr);
  EXPECT_EQ(gzdirect(file), 0);
  char piece[1 << 16];
  for (int n = 0; (n = gzread(file, piece, sizeof piece)) > 0;) {
    text.append(piece, static_cast<size_t>(n));
  }
  EXPECT_EQ(gzclose(file), Z_OK);
  return text;
}

TEST_F(InDirectory, FilesAreTheDocumentsPlainAndCompressed) {
  const Scenario scenario = small(Schedule::kDdp, Format::kG3, 2);
  const Generated g = made(scenario);
  const auto plain = generate_files(scenario, directory_ + "/plain", false);
  ASSERT_TRUE(plain.has_value());
  const auto packed = generate_files(scenario, directory_ + "/packed/", true);
  ASSERT_TRUE(packed.has_value());
  EXPECT_EQ(plain->traces[1], directory_ + "/plain/rank1.json");
  EXPECT_EQ(packed->traces[1], directory_ + "/packed/rank1.json.gz");
  for (size_t r = 0; r < 2; ++r) {
    EXPECT_EQ(read_file(plain->traces[r]).value(), g.documents[r]);
    EXPECT_EQ(gunzip(packed->traces[r]), g.documents[r]);
  }
  EXPECT_EQ(read_file(packed->answers_path).value(), to_json(scenario, g.answers));
  const auto one =
      generate_files(small(Schedule::kDdp, Format::kG3, 1), directory_ + "/one.json.gz", false);
  ASSERT_TRUE(one.has_value());
  EXPECT_EQ(one->answers_path, directory_ + "/one.answers.json");
}

TEST_F(InDirectory, NothingIsLeftBehindOnErrors) {
  Scenario scenario = small(Schedule::kDualPipe, Format::kG3, 1);
  EXPECT_EQ(generate_files(scenario, directory_ + "/no/such/x.json", false).error().code,
            Code::kNotFound);
  scenario.bytes = 1000;
  EXPECT_EQ(generate_files(scenario, directory_ + "/x.json", false).error().code,
            Code::kInvalidArgument);
  scenario.bytes = 0;
  scenario.ranks = 2;
  EXPECT_EQ(generate_files(scenario, directory_ + "/x.json", false).error().code,
            Code::kInvalidArgument);
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST(Generate, AFailingSinkEndsTheRun) {
  const std::vector<Sink> sinks = {
      [](std::string_view) -> Result<> { return fail(Code::kNoSpace, "full"); }};
  EXPECT_EQ(generate(small(Schedule::kDdp, Format::kG3, 1), sinks).error().message, "full");
}

TEST(Generate, ParsesWhatPeopleWrite) {
  EXPECT_EQ(parse_time("5ms").value(), 5'000'000);
  EXPECT_EQ(parse_time("1.5s").value(), 1'500'000'000);
  EXPECT_EQ(parse_time("7").value(), 7000);
  EXPECT_EQ(parse_bytes("1G").value(), 1'000'000'000);
  EXPECT_EQ(parse_bytes("64K").value(), 64'000);
  const Fault f = fault("straggler:3:25%");
  EXPECT_EQ(f.kind, FaultKind::kStraggler);
  EXPECT_EQ(f.rank, 3);
  EXPECT_EQ(f.amount, 25);
  EXPECT_EQ(fault("late-host:all:1ms").rank, -1);
  EXPECT_EQ(fault("late-host:all:1ms").amount, 1'000'000);
  for (int k = 0; k < kNumFaultKinds; ++k) {
    const auto kind = static_cast<FaultKind>(k);
    EXPECT_EQ(fault(info(kind).name).kind, kind);
  }
  for (const char* text : {"", "nan", "-1ms", "5 ms", "1e300s", "5mss", "inf"}) {
    EXPECT_FALSE(parse_time(text).has_value()) << text;
  }
  for (const char* text : {"", "0", "-1", "1GB", "1e99"}) {
    EXPECT_FALSE(parse_bytes(text).has_value()) << text;
  }
  for (const char* text : {"", "stragler", "straggler:x", "straggler:-1", "straggler:1:20ms",
                           "truncated:0:5", "straggler:1:2.5%", "straggler:99999999999"}) {
    EXPECT_FALSE(parse_fault(text).has_value()) << text;
  }
}

TEST(Generate, RefusesWhatCannotBe) {
  const auto refused = [](auto change) {
    Scenario scenario = small(Schedule::kDdp, Format::kG3);
    change(scenario);
    const Result<> result = validate(scenario);
    return !result && result.error().code == Code::kInvalidArgument;
  };
  EXPECT_FALSE(refused([](Scenario&) {}));
  EXPECT_TRUE(refused([](Scenario& s) { s.ranks = 0; }));
  EXPECT_TRUE(refused([](Scenario& s) { s.layers = 1001; }));
  EXPECT_TRUE(refused([](Scenario& s) { s.bytes = -1; }));
  EXPECT_TRUE(refused([](Scenario& s) { s.clock_drifts_ppm = {std::nan("")}; }));
  EXPECT_TRUE(refused([](Scenario& s) { s.faults = {fault("straggler:2")}; }));
  EXPECT_TRUE(refused([](Scenario& s) { s.faults = {fault("zero-times")}; }));
  EXPECT_TRUE(refused([](Scenario& s) { s.faults = {fault("barrier-growth")}; }));
  EXPECT_TRUE(refused([](Scenario& s) { s.faults = {fault("low-occupancy:1")}; }));
  EXPECT_TRUE(refused([](Scenario& s) { s.faults = {{FaultKind::kPageableCopy, -1, -5}}; }));
}

}  // namespace
}  // namespace hadal::trace::gen
