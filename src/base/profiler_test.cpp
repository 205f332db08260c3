#include "base/profiler.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <pthread.h>
#include <unistd.h>

#include "base/rng.h"
#include "base/threads.h"

namespace hadal {
namespace {

using nlohmann::json;

// The nanoseconds of a time in the text "123.456"; the number would lose them as a double.
int64_t exact_ns(const std::string& text) {
  const size_t dot = text.find('.');
  EXPECT_NE(dot, std::string::npos) << text;
  EXPECT_EQ(text.size() - dot, 4u) << text;
  return std::stoll(text.substr(0, dot)) * 1000 + std::stoll(text.substr(dot + 1));
}

struct TraceEvent {
  std::string ph;
  std::string name;
  int64_t tid = 0;
  int64_t ts_ns = 0;
  int64_t dur_ns = 0;
  json args;
  int64_t end_ns() const { return ts_ns + dur_ns; }
};

// A parsed trace. Checks what holds for every one: the head, the keys of each event, the order in
// time and the nesting of spans per thread.
struct Trace {
  json root;
  std::vector<TraceEvent> events;              // without metadata
  std::map<int64_t, std::string> thread_name;  // by tid

  explicit Trace(const std::string& text) {
    root = json::parse(text, nullptr, false);
    EXPECT_FALSE(root.is_discarded()) << text.substr(0, 2000);
    if (root.is_discarded()) return;
    EXPECT_EQ(root["schemaVersion"], 1);
    EXPECT_TRUE(root["deviceProperties"].is_array());
    EXPECT_TRUE(root["baseTimeNanoseconds"].is_number_integer());
    read_events(text);
    check_order();
  }

  // Times from the text itself, since json holds them as doubles: the file has one event a line.
  void read_events(const std::string& text) {
    std::vector<std::string> lines;
    size_t begin = text.find("\"traceEvents\"");
    for (begin = text.find('\n', begin) + 1; text[begin] == '{';) {
      const size_t end = text.find('\n', begin);
      lines.push_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
    ASSERT_EQ(lines.size(), root["traceEvents"].size());
    for (size_t i = 0; i < lines.size(); ++i) {
      const json& source = root["traceEvents"][i];
      EXPECT_EQ(source["pid"], getpid());
      if (source["ph"] == "M") {
        if (source["name"] == "thread_name") thread_name[source["tid"]] = source["args"]["name"];
        continue;
      }
      TraceEvent event{source["ph"], source["name"], source["tid"], 0, 0, source["args"]};
      event.ts_ns = exact_ns(number_after(lines[i], "\"ts\":"));
      if (event.ph == "X") event.dur_ns = exact_ns(number_after(lines[i], "\"dur\":"));
      EXPECT_TRUE(thread_name.contains(event.tid));
      events.push_back(event);
    }
  }

  static std::string number_after(const std::string& line, const std::string& key) {
    const size_t begin = line.rfind(key) + key.size();
    return line.substr(begin, line.find_first_not_of("0123456789.", begin) - begin);
  }

  void check_order() const {
    std::map<int64_t, int64_t> last_ts;
    std::map<int64_t, std::vector<int64_t>> open;  // ends of the spans around this point
    for (const TraceEvent& event : events) {
      EXPECT_GE(event.dur_ns, 0);
      EXPECT_GE(event.ts_ns, last_ts[event.tid]);
      last_ts[event.tid] = event.ts_ns;
      if (event.ph != "X") continue;
      std::vector<int64_t>& ends = open[event.tid];
      while (!ends.empty() && ends.back() < event.end_ns()) {
        EXPECT_LE(ends.back(), event.ts_ns) << event.name << " leaves the span around it";
        ends.pop_back();
      }
      ends.push_back(event.end_ns());
    }
  }

  std::vector<TraceEvent> named(const std::string& name) const {
    std::vector<TraceEvent> found;
    for (const TraceEvent& event : events) {
      if (event.name == name) found.push_back(event);
    }
    return found;
  }
  std::set<int64_t> tids() const {
    std::set<int64_t> found;
    for (const TraceEvent& event : events) found.insert(event.tid);
    return found;
  }
};

bool inside(const TraceEvent& inner, const TraceEvent& outer) {
  return inner.tid == outer.tid && inner.ts_ns >= outer.ts_ns && inner.end_ns() <= outer.end_ns();
}

int64_t monotonic_ns() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

TEST(Profiler, AnEmptyTraceIsValid) {
  const Profiler profiler;
  const Trace trace(profiler.to_json());
  EXPECT_TRUE(trace.events.empty());
  EXPECT_EQ(trace.root["traceEvents"].size(), 1u);
  EXPECT_EQ(trace.root["traceEvents"][0]["args"]["name"], "hadal");
  EXPECT_EQ(trace.root["hadal"]["droppedEvents"], 0);
}

TEST(Profiler, NothingIsRecordedWithoutAttach) {
  Profiler profiler;
  EXPECT_EQ(Profiler::current(), nullptr);
  {
    Profiler::Span span("span", {"a", 1});
    span.arg("b", 2);
    Profiler::instant("instant");
    Profiler::counter("counter", 1);
    Profiler::name_thread("nobody");
  }
  EXPECT_TRUE(Trace(profiler.to_json()).events.empty());
}

TEST(Profiler, SpansNestAsScopesDo) {
  Profiler profiler;
  {
    const Profiler::Attach attach(&profiler);
    EXPECT_EQ(Profiler::current(), &profiler);
    const Profiler::Span outer("outer");
    for (int i = 0; i < 3; ++i) {
      const Profiler::Span middle("middle", {"i", i});
      {
        const Profiler::Span inner("inner");
      }
      {
        const Profiler::Span inner("inner");
      }
    }
  }
  const Trace trace(profiler.to_json());
  ASSERT_EQ(trace.events.size(), 10u);
  EXPECT_EQ(trace.events[0].name, "outer");
  const auto middles = trace.named("middle");
  const auto inners = trace.named("inner");
  ASSERT_EQ(middles.size(), 3u);
  ASSERT_EQ(inners.size(), 6u);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_TRUE(inside(middles[i], trace.events[0]));
    EXPECT_TRUE(inside(inners[2 * i], middles[i]));
    EXPECT_TRUE(inside(inners[2 * i + 1], middles[i]));
    EXPECT_EQ(middles[i].args, json({{"i", i}}));
    EXPECT_EQ(trace.events[1 + 3 * i].name, "middle");  // a parent stands before its children
  }
}

TEST(Profiler, ArgumentsOfEveryNumber) {
  Profiler profiler;
  {
    const Profiler::Attach attach(&profiler);
    {
      const Profiler::Span span("none");
    }
    {
      const Profiler::Span span("one", {"bytes", INT64_MIN});
    }
    {
      const Profiler::Span span("two", {"m", 1}, {"n", INT64_MAX});
    }
    {
      Profiler::Span span("late");
      span.arg("first", 7);
      span.arg("second", -8);
    }
    {
      Profiler::Span span("mixed", {"offset", 4096});
      span.arg("bytes", 100);
    }
    Profiler::instant("bare");
    Profiler::instant("moment", {"x", 5}, {"y", 6});
  }
  const Trace trace(profiler.to_json());
  EXPECT_EQ(trace.named("none")[0].args, json::object());
  EXPECT_EQ(trace.named("one")[0].args, json({{"bytes", INT64_MIN}}));
  EXPECT_EQ(trace.named("two")[0].args, json({{"m", 1}, {"n", INT64_MAX}}));
  EXPECT_EQ(trace.named("late")[0].args, json({{"first", 7}, {"second", -8}}));
  EXPECT_EQ(trace.named("mixed")[0].args, json({{"offset", 4096}, {"bytes", 100}}));
  EXPECT_EQ(trace.named("bare")[0].ph, "i");
  EXPECT_EQ(trace.named("moment")[0].args, json({{"x", 5}, {"y", 6}}));
}

TEST(Profiler, CountersKeepTheirValuesInOrder) {
  Profiler profiler;
  {
    const Profiler::Attach attach(&profiler);
    for (const int64_t value : {int64_t{0}, int64_t{-1}, INT64_MAX, INT64_MIN}) {
      Profiler::counter("depth", value);
    }
  }
  const auto found = Trace(profiler.to_json()).named("depth");
  ASSERT_EQ(found.size(), 4u);
  EXPECT_EQ(found[0].ph, "C");
  EXPECT_EQ(found[0].args["value"], 0);
  EXPECT_EQ(found[1].args["value"], -1);
  EXPECT_EQ(found[2].args["value"], INT64_MAX);
  EXPECT_EQ(found[3].args["value"], INT64_MIN);
}

TEST(Profiler, AFullLogDropsAndSaysSo) {
  Profiler profiler({.events_per_thread_max = 10});
  {
    const Profiler::Attach attach(&profiler);
    for (int i = 0; i < 9; ++i) Profiler::instant("kept");
    Profiler::instant("two slots", {"do not", 1});  // do not fit in one
    Profiler::instant("kept");
    for (int i = 0; i < 5; ++i) {
      const Profiler::Span span("lost");
    }
  }
  EXPECT_EQ(profiler.dropped(), 6);
  const Trace trace(profiler.to_json());
  EXPECT_EQ(trace.named("kept").size(), 10u);
  EXPECT_TRUE(trace.named("lost").empty());
  EXPECT_TRUE(trace.named("two slots").empty());
  EXPECT_EQ(trace.root["hadal"]["droppedEvents"], 6);
  ASSERT_EQ(trace.named("profiler log full").size(), 1u);
  EXPECT_EQ(trace.named("profiler log full")[0].args["dropped"], 6);
}

TEST(Profiler, NoRoomAtAllIsAllowed) {
  Profiler profiler({.events_per_thread_max = 0});
  {
    const Profiler::Attach attach(&profiler);
    Profiler::instant("lost");
  }
  EXPECT_EQ(profiler.dropped(), 1);
  EXPECT_EQ(Trace(profiler.to_json()).root["hadal"]["droppedEvents"], 1);
}

TEST(Profiler, ThreadsOverTheLimitDropAndSaySo) {
  Profiler profiler({.threads_max = 2});
  const Profiler::Attach attach(&profiler);
  std::vector<std::thread> threads;
  threads.reserve(4);
  std::atomic<int> here{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      const Profiler::Attach inner(&profiler);
      Profiler::name_thread("one too many, perhaps");
      ++here;
      while (here < 4) std::this_thread::yield();  // all alive at once: four thread ids
      for (int k = 0; k < 100; ++k) Profiler::instant("x");
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(profiler.dropped(), 300);
  const Trace trace(profiler.to_json());
  EXPECT_EQ(trace.named("x").size(), 100u);
  EXPECT_EQ(trace.root["hadal"]["droppedEvents"], 300);
}

TEST(Profiler, ManyThreadsWhileTheTraceIsWritten) {
  constexpr int kThreads = 6;
  constexpr int kRounds = 3000;
  Profiler profiler;
  std::atomic<int> running{kThreads};
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] {
      const Profiler::Attach attach(&profiler);
      Profiler::name_thread(fmt::format("thread {}", i));
      Rng rng(static_cast<uint64_t>(i));
      for (int k = 0; k < kRounds; ++k) {
        const Profiler::Span outer("outer", {"k", k});
        const Profiler::Span inner("inner");
        if (rng.chance(0.01)) Profiler::counter("k", k);
      }
      --running;
    });
  }
  size_t last = 0;
  while (running > 0) {
    const Trace partial(profiler.to_json());
    EXPECT_GE(partial.events.size(), last);
    last = partial.events.size();
  }
  for (std::thread& thread : threads) thread.join();
  const Trace trace(profiler.to_json());  // their threads are gone; their events are not
  EXPECT_EQ(trace.named("outer").size(), size_t{kThreads} * kRounds);
  EXPECT_EQ(trace.named("inner").size(), size_t{kThreads} * kRounds);
  std::map<int64_t, int64_t> next;
  for (const TraceEvent& event : trace.named("outer")) {
    EXPECT_EQ(event.args["k"], next[event.tid]++ % kRounds);
  }
}

TEST(Profiler, TwoAtOnce) {
  Profiler a;
  Profiler b;
  {
    const Profiler::Attach to_a(&a);
    Profiler::instant("a1");
    const Profiler::Span around("around");
    {
      const Profiler::Attach to_b(&b);
      EXPECT_EQ(Profiler::current(), &b);
      Profiler::instant("b1");
      {
        const Profiler::Attach to_none(nullptr);
        EXPECT_EQ(Profiler::current(), nullptr);
        Profiler::instant("nowhere");
      }
      Profiler::instant("b2");
      std::thread([&] {
        const Profiler::Attach other(&a);
        Profiler::instant("a2");
      }).join();
    }
    EXPECT_EQ(Profiler::current(), &a);
    Profiler::instant("a3");
  }
  const Trace in_a(a.to_json());
  const Trace in_b(b.to_json());
  EXPECT_EQ(in_a.events.size(), 4u);
  for (const char* name : {"a1", "a2", "a3", "around"}) {
    EXPECT_EQ(in_a.named(name).size(), 1u) << name;
  }
  ASSERT_EQ(in_b.events.size(), 2u);
  EXPECT_EQ(in_b.events[0].name, "b1");
  EXPECT_EQ(in_b.events[1].name, "b2");
}

TEST(Profiler, ALaterProfilerAtTheSameAddressIsAnother) {
  alignas(Profiler) std::byte place[sizeof(Profiler)];
  for (int round = 0; round < 3; ++round) {
    auto* profiler = new (place) Profiler;
    {
      const Profiler::Attach attach(profiler);
      Profiler::instant("x");
    }
    EXPECT_EQ(Trace(profiler->to_json()).events.size(), 1u);
    profiler->~Profiler();
  }
}

TEST(Profiler, NamesAreEscapedAndMayBeHuge) {
  Profiler profiler({.process_name = "quote \" and \\"});
  const std::string huge(1 << 20, 'n');
  const std::string nasty = "\"quoted\" back\\slash\nnew\tline \x01\x1f caf\xc3\xa9";
  {
    const Profiler::Attach attach(&profiler);
    Profiler::name_thread("a \"thread\"\n");
    const Profiler::Name kept = profiler.intern(huge);
    EXPECT_EQ(kept.text(), profiler.intern(huge).text());
    {
      const Profiler::Span span(kept, {profiler.intern("key\""), 1});
    }
    Profiler::instant(profiler.intern(nasty));
    Profiler::instant(profiler.intern("bad \xff\xc3 utf8"));
    Profiler::instant("");
  }
  const Trace trace(profiler.to_json());
  EXPECT_EQ(trace.root["traceEvents"][0]["args"]["name"], "quote \" and \\");
  EXPECT_EQ(trace.thread_name.begin()->second, "a \"thread\"\n");
  ASSERT_EQ(trace.named(huge).size(), 1u);
  EXPECT_EQ(trace.named(huge)[0].args, json({{"key\"", 1}}));
  EXPECT_EQ(trace.named(nasty).size(), 1u);
  EXPECT_EQ(trace.named("bad \xef\xbf\xbd\xef\xbf\xbd utf8").size(), 1u);
  EXPECT_EQ(trace.named("").size(), 1u);
}

TEST(Profiler, TimesLieWithinWhatOtherClocksSay) {
  for (const bool use_tsc : {true, false}) {
    Profiler profiler({.use_tsc = use_tsc});
    int64_t around_ns = 0;
    int64_t unix_before = 0;
    {
      const Profiler::Attach attach(&profiler);
      unix_before = time(nullptr);
      const int64_t before = monotonic_ns();
      {
        const Profiler::Span span("sleep");
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      }
      around_ns = monotonic_ns() - before;
    }
    const Trace trace(profiler.to_json());
    if (!use_tsc) {
      EXPECT_EQ(trace.root["hadal"]["clock"], "monotonic");
    }
    const TraceEvent span = trace.named("sleep").at(0);
    // A sleep is never shorter than asked for, and the span is inside of around_ns however long the
    // machine took; 1 % covers the reading of the clocks.
    EXPECT_GE(span.dur_ns, 20'000'000 * 99 / 100);
    EXPECT_LE(span.dur_ns, around_ns + around_ns / 100);
    // And it is today, give or take a set clock.
    const int64_t base = trace.root["baseTimeNanoseconds"];
    const int64_t unix_seconds = (base + span.ts_ns) / 1'000'000'000;
    EXPECT_LE(std::abs(unix_seconds - unix_before), 60);
    EXPECT_EQ(base % (int64_t{7'889'238} * 1'000'000'000), 0);
  }
}

TEST(Profiler, PoolWorkersRecordForTheirCaller) {
  Profiler profiler;
  ThreadPool pool({.threads = 3, .name = "crew"});
  const auto loop = [&](const auto& body) {
    pool.parallel_for_dynamic(64, 1, [&](int64_t begin, int64_t, int worker) {
      const Profiler::Span span("chunk", {"begin", begin}, {"worker", worker});
      body();
    });
  };
  loop([] {});  // nobody attached: nothing
  {
    const Profiler::Attach attach(&profiler);
    Profiler::name_thread("main");
    // Workers may be late; sleeping shares leave them all the time to take one.
    for (int round = 0; round < 200 && Trace(profiler.to_json()).tids().size() < 3; ++round) {
      loop([] { std::this_thread::sleep_for(std::chrono::microseconds(200)); });
    }
  }
  const size_t recorded = Trace(profiler.to_json()).events.size();
  loop([] {});  // and nothing again
  const Trace trace(profiler.to_json());
  EXPECT_EQ(trace.events.size(), recorded);
  EXPECT_EQ(recorded % 64, 0u);
  EXPECT_EQ(trace.tids().size(), 3u);
  std::set<std::string> names;
  for (const auto& [tid, name] : trace.thread_name) names.insert(name);
  EXPECT_EQ(names, (std::set<std::string>{"main", "crew-1", "crew-2"}));
}

TEST(Profiler, WriteReplacesTheFileAndLeavesNothingElse) {
  std::string pattern = (std::filesystem::temp_directory_path() / "profiler.XXXXXX").string();
  const std::filesystem::path folder = mkdtemp(pattern.data());
  const std::string path = folder / "a.trace.json";
  Profiler profiler;
  const Profiler::Attach attach(&profiler);
  ASSERT_TRUE(profiler.write(path).has_value());
  // Enough for several flushes of the writer's buffer.
  for (int i = 0; i < 40'000; ++i) Profiler::instant("moment", {"i", i});
  ASSERT_TRUE(profiler.write(path).has_value());
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  EXPECT_GT(text.size(), size_t{3} << 20);
  EXPECT_EQ(Trace(text).events.size(), 40'000u);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);

  const auto missing = profiler.write(folder / "no" / "a.json");
  ASSERT_FALSE(missing.has_value());
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  EXPECT_NE(missing.error().message.find("no/a.json"), std::string::npos);

  std::filesystem::create_directory(folder / "taken");
  ASSERT_FALSE(profiler.write(folder / "taken").has_value());
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 2);
  std::filesystem::remove_all(folder);
}

TEST(Profiler, AFullDiskIsAnError) {
  // Writing to /dev/full fails as a full disk does. The temporary name is predictable, so a link
  // stands where it will be.
  std::string pattern = (std::filesystem::temp_directory_path() / "profiler.XXXXXX").string();
  const std::filesystem::path folder = mkdtemp(pattern.data());
  const std::string path = folder / "a.json";
  std::filesystem::create_symlink("/dev/full",
                                  fmt::format("{}.{}.{}.tmp", path, getpid(), gettid()));
  const Profiler profiler;
  const auto result = profiler.write(path);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().code, Code::kNoSpace);
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  std::filesystem::remove_all(folder);
}

TEST(ProfilerDeathTest, OutlivingAttachIsABug) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        auto* profiler = new Profiler;
        const Profiler::Attach attach(profiler);
        delete profiler;
      },
      "attached");
}

}  // namespace
}  // namespace hadal
