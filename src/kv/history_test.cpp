#include "kv/history.h"

#include <map>

#include <gtest/gtest.h>

#include "base/rng.h"

namespace hadal::kv {
namespace {

using Value = std::optional<std::string>;

/// Writes histories in one line each.
struct Book {
  History history;

  RecordedTransaction& add(int64_t begin, int64_t end, std::optional<Version> version,
                           std::vector<std::pair<std::string, Value>> reads,
                           std::vector<std::pair<std::string, Value>> writes) {
    RecordedTransaction t;
    t.client = "c";
    t.begin_ns = begin;
    t.end_ns = end;
    t.outcome = version ? Outcome::kCommitted : Outcome::kUnknown;
    const uint16_t order = writes.empty() ? kReader : 0;
    if (version) t.stamp = Stamp{*version, order};
    t.reads = std::move(reads);
    t.writes = std::move(writes);
    return history.transactions()[history.add(std::move(t))];
  }

  void expect_good() {
    const auto found = history.anomaly();
    EXPECT_FALSE(found) << *found;
  }
  /// The anomaly, which has all of these words.
  void expect_bad(const std::vector<std::string>& words) {
    const auto found = history.anomaly();
    ASSERT_TRUE(found);
    for (const std::string& word : words) {
      EXPECT_NE(found->find(word), std::string::npos) << word << " is not in: " << *found;
    }
  }
};

constexpr auto kNone = std::nullopt;

TEST(History, GoodOnesAreGood) {
  Book book;
  book.expect_good();
  book.add(0, 9, 2, {{"x", kNone}}, {{"x", "1"}});
  book.add(0, 20, 3, {{"x", "1"}}, {{"x", "2"}});
  book.add(10, 20, 2, {{"x", "1"}}, {});  // beside the second: may see either
  book.add(21, 30, 3, {{"x", "2"}}, {});
  book.add(21, 30, 4, {{"x", "2"}}, {{"x", kNone}});
  book.add(31, 40, 4, {{"x", kNone}}, {});
  book.expect_good();
}

TEST(History, LostUpdate) {
  Book book;
  book.add(0, 1, 2, {}, {{"x", "0"}});
  book.add(2, 9, 3, {{"x", "0"}}, {{"x", "1"}});
  book.add(2, 9, 4, {{"x", "0"}}, {{"x", "2"}});
  book.expect_bad({"T1", "T2", "read x = 0 and not yet", "wrote x after"});
}

TEST(History, WriteSkew) {
  Book book;
  book.add(0, 9, 2, {{"x", kNone}, {"y", kNone}}, {{"x", "1"}});
  book.add(0, 9, 3, {{"x", kNone}, {"y", kNone}}, {{"y", "1"}});
  book.expect_bad({"T0", "T1", "read x = nothing", "read y = nothing"});
}

TEST(History, StaleRead) {
  Book book;
  book.add(0, 1, 2, {}, {{"x", "1"}});
  book.add(2, 3, 3, {}, {{"x", "2"}});
  book.add(4, 5, 2, {{"x", "1"}}, {});
  book.expect_bad({"T1 (c, stamp 3.0) had ended before T2", "read x = 1 and not yet what T1"});
}

TEST(History, DirtyRead) {
  Book book;
  book.add(0, 1, 2, {}, {{"x", "1"}}).outcome = Outcome::kAborted;
  book.add(0, 5, 2, {{"x", "1"}}, {});
  book.expect_bad({"T1", "which T0", "did not commit"});
  Book invented;
  invented.add(0, 5, 2, {{"x", "7"}}, {});
  invented.expect_bad({"which nobody ever wrote"});
}

TEST(History, Phantom) {
  for (const bool seen : {false, true}) {
    Book book;
    book.add(0, 1, 2, {}, {{"b", "1"}});
    RecordedTransaction& t = book.add(2, 9, 3, {}, {{"n", "0"}});
    t.ranges.push_back({{"a", "c"}, {}});
    if (seen) {
      t.ranges[0].rows = {{"b", "1"}};
      book.expect_good();
    } else {
      book.expect_bad(
          {"T1", "read b = nothing and not yet what T0", "T0 (c, stamp 2.0) had ended"});
    }
  }
}

TEST(History, FracturedRead) {
  Book book;
  book.add(0, 9, 2, {}, {{"x", "1"}, {"y", "1"}});
  book.add(0, 9, 2, {{"x", "1"}, {"y", kNone}}, {});
  book.expect_bad({"T1 (c, at 2) read what T0", "read y = nothing and not yet what T0"});
}

TEST(History, ClearedRangesAreWrites) {
  Book book;
  book.add(0, 1, 2, {}, {{"b", "1"}});
  book.add(2, 3, 3, {}, {{"d", "1"}}).clears = {{"a", "c"}};
  book.add(4, 5, 3, {{"b", kNone}}, {});
  book.expect_good();
  book.add(4, 5, 3, {{"b", "1"}, {"d", "1"}}, {});
  book.expect_bad({"T3 (c, at 3) read b = 1 and not yet what T1"});
}

TEST(History, RealTime) {
  Book book;
  book.add(10, 11, 2, {{"x", kNone}}, {{"y", "1"}});
  book.add(0, 1, 3, {}, {{"x", "1"}});  // had ended, and yet T0 did not see it
  book.expect_bad({"T1 (c, stamp 3.0) had ended before T0", "T0 (c, stamp 2.0) read x = nothing"});
}

TEST(History, UnknownOutcomes) {
  Book book;
  book.add(0, 1, kNone, {}, {{"x", "1"}});
  book.add(2, 3, 1, {{"x", kNone}}, {});
  book.expect_good();  // never seen: did not happen
  book.add(4, 5, 2, {{"x", "1"}}, {});
  book.expect_good();  // happened late
  book.add(6, 7, 2, {{"x", kNone}}, {});
  book.expect_bad({"T3 (c, at 2) read x = nothing and not yet what T0 (c, outcome unknown) wrote"});
}

/// Random serial executions are good whatever the overlap; with two reads swapped they are not.
TEST(History, ScalesToThousands) {
  Rng rng(1);
  Book book;
  std::map<std::string, Value> state;
  for (int i = 0; i < 5000; ++i) {
    std::vector<std::pair<std::string, Value>> reads, writes;
    for (int k = 0; k < 3; ++k) {
      const std::string key = "k" + std::to_string(rng.below(40));
      reads.emplace_back(key, state[key]);
    }
    const std::string key = "k" + std::to_string(rng.below(40));
    writes.emplace_back(key, rng.below(4) == 0 ? kNone : Value(std::to_string(i)));
    state[key] = writes[0].second;
    book.add(i * 10 - static_cast<int64_t>(rng.below(200)),
             i * 10 + static_cast<int64_t>(rng.below(200)), i + 1, reads, writes);
  }
  book.expect_good();
  std::vector<RecordedTransaction>& all = book.history.transactions();
  for (size_t i = 4000;; ++i) {
    Value& value = all[i].reads[0].second;
    if (!value) continue;
    const size_t writer = std::stoul(*value);
    if (i - writer < 200) continue;
    value.reset();  // as if the write, long over, were not there
    break;
  }
  book.expect_bad({"no serial order"});
}

}  // namespace
}  // namespace hadal::kv
