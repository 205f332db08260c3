#include "kv/conformance.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <fmt/core.h>

#include "base/rng.h"
#include "kv/faults.h"
#include "kv/workload.h"

namespace hadal::kv {
namespace {

Result<> expect(bool holds, std::string_view what) {
  if (holds) return {};
  return fail(Code::kInternal, std::string(what));
}

Result<> expect_code(const Result<>& result, Code code, std::string_view what) {
  if (!result && result.error().code == code) return {};
  return fail(Code::kInternal,
              fmt::format("{}: {} was expected, and it is {}", what, code_name(code),
                          result ? "no error" : result.error().message));
}

Result<> clear_prefix(Store& store, std::string_view prefix) {
  const KeyRange range = prefix_range(prefix);
  return run(store, Deadline::never(), [&](Transaction& t) -> Result<> {
    t.clear_range(range.begin, range.end);
    return {};
  });
}

Result<> put(Store& store, std::string_view key, std::string_view value) {
  return run(store, Deadline::never(), [&](Transaction& t) -> Result<> {
    t.set(key, value);
    return {};
  });
}

// --- reads and writes ---------------------------------------------------------------------------

Result<> values_come_back(Store& store) {
  TRY(clear_prefix(store, "value/"));
  const std::string binary("\0\xff\x01", 3);
  TRY(put(store, "value/" + binary, binary));
  TRY(put(store, "value/empty", ""));
  TRY(put(store, "", "the empty key"));
  TRY(expect(TRY(store.begin().get("value/" + binary)) == binary, "bytes of any kind come back"));
  TRY(expect(TRY(store.begin().get("value/empty")) == "", "an empty value is a value"));
  TRY(expect(TRY(store.begin().get("")) == "the empty key", "the empty key is a key"));
  TRY(expect(!TRY(store.begin().get("value/none")), "what nobody wrote is not there"));
  Transaction t = store.begin();
  t.clear("value/empty");
  t.clear("value/none");
  t.clear("");
  TRY(t.commit());
  TRY(expect(!TRY(store.begin().get("value/empty")), "what was cleared is not there"));
  return expect_code(t.commit(), Code::kInvalidArgument, "a second commit");
}

/// One transaction sees one version, and its own writes.
Result<> transactions_are_isolated(Store& store) {
  TRY(clear_prefix(store, "isolated/"));
  TRY(put(store, "isolated/a", "1"));
  Transaction t = store.begin();
  TRY(expect(TRY(t.snapshot_get("isolated/a")) == "1", "a read"));
  TRY(put(store, "isolated/a", "2"));
  TRY(put(store, "isolated/b", "2"));
  TRY(expect(TRY(t.snapshot_get("isolated/a")) == "1", "a later write is not seen"));
  const Rows rows = TRY(t.snapshot_get_range("isolated/", "isolated0"));
  TRY(expect(rows.rows == std::vector<Row>{{"isolated/a", "1"}}, "nor by a range"));
  t.set("isolated/a", "mine");
  TRY(expect(TRY(t.get("isolated/a")) == "mine", "own writes are seen"));
  t.clear_range("isolated/", "isolated0");
  TRY(expect(!TRY(t.get("isolated/a")), "own clears are seen"));
  t.set("isolated/c", "3");
  const Rows own = TRY(t.get_range("isolated/", "isolated0"));
  TRY(expect(own.rows == std::vector<Row>{{"isolated/c", "3"}}, "and by a range"));
  TRY(expect(TRY(store.begin().get("isolated/a")) == "2", "nobody sees what is not committed"));
  TRY(t.commit());
  const Rows after = TRY(store.begin().get_range("isolated/", "isolated0"));
  return expect(after.rows == std::vector<Row>{{"isolated/c", "3"}}, "all is committed at once");
}

Result<> read_versions_are_kept(Store& store) {
  TRY(put(store, "version", "1"));
  Transaction first = store.begin();
  TRY(first.get("version"));
  const Version version = TRY(first.read_version());
  TRY(put(store, "version", "2"));
  Transaction again = store.begin();
  again.set_read_version(version);
  TRY(expect(TRY(again.get("version")) == "1", "an old version is read as it was"));
  again.set("version", "3");
  TRY(expect_code(again.commit(), Code::kConflict, "a write after a read of an old version"));
  Transaction blind = store.begin();
  blind.set("version", "4");
  TRY(blind.commit());
  TRY(expect(blind.committed_version() > version, "versions ascend"));
  Transaction reader = store.begin();
  TRY(expect(TRY(reader.get("version")) == "4", "an acknowledged commit is seen"));
  TRY(expect(TRY(reader.read_version()) >= blind.committed_version(), "and has its version"));
  const Version read_at = TRY(reader.read_version());
  TRY(reader.commit());
  TRY(expect(reader.committed_version() == read_at, "who only reads commits where it read"));
  Transaction future = store.begin();
  future.set_read_version(version + 1'000'000'000);
  const auto read = future.get("version");
  return expect(!read && read.error().code == Code::kInvalidArgument, "the future is not read");
}

Result<> old_versions_are_refused(Store& store) {
  TRY(put(store, "old", "1"));
  Transaction reader = store.begin(), writer = store.begin();
  TRY(reader.get("old"));
  TRY(writer.get("other"));
  writer.set("old", "3");
  sleep_fiber(2 * kReadAgeNs);
  TRY(expect(TRY(reader.get("old")) == "1", "the newest version is never too old"));
  TRY(put(store, "old", "2"));
  sleep_fiber(kReadAgeNs / 2);
  TRY(expect(TRY(reader.get("old")) == "1", "nor one that was followed lately"));
  sleep_fiber(kReadAgeNs);
  TRY(put(store, "new", "1"));
  const auto late = reader.get("old");
  TRY(expect(!late && late.error().code == Code::kConflict, "a read at an old version"));
  return expect_code(writer.commit(), Code::kConflict, "a commit after a read at an old version");
}

// --- conflicts ----------------------------------------------------------------------------------

struct ConflictCase {
  std::string_view name;
  std::function<Result<>(Transaction&)> reader;  // then writes something else
  std::function<void(Transaction&)> writer;      // commits in between
  bool conflicts;
};

using T = Transaction&;

Result<> get_b(T t) {
  TRY(t.get("c/b"));
  return {};
}
Result<> range_b_to_d(T t) {
  TRY(t.get_range("c/b", "c/d"));
  return {};
}
Result<> first_row(T t) {
  TRY(t.get_range("c/a", "c/z", {.rows_max = 1}));
  return {};
}
Result<> last_row(T t) {
  TRY(t.get_range("c/a", "c/z", {.rows_max = 1, .reverse = true}));
  return {};
}
Result<> explicit_b(T t) {
  TRY(t.snapshot_get("c/b"));
  t.add_read_conflict("c/b");
  return {};
}
Result<> explicit_b_to_d(T t) {
  TRY(t.snapshot_get("c/b"));
  t.add_read_conflict_range("c/b", "c/d");
  return {};
}

std::function<void(T)> sets(std::string key) {
  return [key = std::move(key)](T t) { t.set(key, "x"); };
}
std::function<void(T)> clears(std::string key) {
  return [key = std::move(key)](T t) { t.clear(key); };
}
std::function<void(T)> clears_range(std::string begin, std::string end) {
  return [begin = std::move(begin), end = std::move(end)](T t) { t.clear_range(begin, end); };
}

/// The store has c/b, c/f and c/m.
std::vector<ConflictCase> conflict_cases() {
  return {
      {"get, set", get_b, sets("c/b"), true},
      {"get, set of the next key", get_b, sets(std::string("c/b\0", 4)), false},
      {"get, clear", get_b, clears("c/b"), true},
      {"get, clear_range over it", get_b, clears_range("c/a", "c/c"), true},
      {"get, clear_range that ends at it", get_b, clears_range("c/a", "c/b"), false},
      {"get, clear_range that begins at it", get_b, clears_range("c/b", "c/c"), true},
      {"get of nothing, clear_range over it",
       [](T t) -> Result<> {
         TRY(t.get("c/q"));
         return {};
       },
       clears_range("c/n", "c/z"), true},
      {"get of nothing, set",
       [](T t) -> Result<> {
         TRY(t.get("c/q"));
         return {};
       },
       sets("c/q"), true},
      {"snapshot_get, set",
       [](T t) -> Result<> {
         TRY(t.snapshot_get("c/b"));
         return {};
       },
       sets("c/b"), false},
      {"snapshot_get_range, set",
       [](T t) -> Result<> {
         TRY(t.snapshot_get_range("c/a", "c/z"));
         return {};
       },
       sets("c/b"), false},
      {"explicit conflict, set", explicit_b, sets("c/b"), true},
      {"explicit conflict, set beside", explicit_b, sets("c/c"), false},
      {"explicit range, set at its begin", explicit_b_to_d, sets("c/b"), true},
      {"explicit range, set at its end", explicit_b_to_d, sets("c/d"), false},
      {"get_range, insert into it", range_b_to_d, sets("c/c"), true},
      {"get_range, set at its begin", range_b_to_d, sets("c/b"), true},
      {"get_range, set at its end", range_b_to_d, sets("c/d"), false},
      {"get_range, set before it", range_b_to_d, sets("c/a"), false},
      {"get_range, clear_range that touches it", range_b_to_d, clears_range("c/cc", "c/z"), true},
      {"get_range, clear_range behind it", range_b_to_d, clears_range("c/d", "c/z"), false},
      {"first row, set behind it", first_row, sets("c/c"), false},
      {"first row, insert before it", first_row, sets("c/aa"), true},
      {"first row, set of it", first_row, sets("c/b"), true},
      {"last row, insert before it", last_row, sets("c/c"), false},
      {"last row, insert behind it", last_row, sets("c/n"), true},
  };
}

/// The same, with writes of the reader's own.
std::vector<ConflictCase> own_write_cases() {
  return {
      {"get of an own write, set",
       [](T t) -> Result<> {
         t.set("c/b", "mine");
         return get_b(t);
       },
       sets("c/b"), false},
      {"get of an own clear, set",
       [](T t) -> Result<> {
         t.clear_range("c/a", "c/c");
         return get_b(t);
       },
       sets("c/b"), false},
      {"get_range with an own write, set of it",
       [](T t) -> Result<> {
         t.set("c/b", "mine");
         return range_b_to_d(t);
       },
       sets("c/b"), false},
      {"get_range with an own write, insert beside",
       [](T t) -> Result<> {
         t.set("c/b", "mine");
         return range_b_to_d(t);
       },
       sets("c/bb"), true},
      {"a write after the read, set",
       [](T t) -> Result<> {
         TRY(t.get("c/b"));
         t.set("c/b", "mine");
         return {};
       },
       sets("c/b"), true},
      {"no read, set of the same key",
       [](T t) -> Result<> {
         TRY(t.snapshot_get("c/f"));
         t.set("c/b", "mine");
         return {};
       },
       sets("c/b"), false},
      {"get, stamped value", get_b,
       [](T t) { t.set_versionstamped_value("c/b", std::string(10, '-'), 0); }, true},
      {"range, stamped key",
       [](T t) -> Result<> {
         TRY(t.get_range("c/s/", "c/t"));
         return {};
       },
       [](T t) { t.set_versionstamped_key("c/s/" + std::string(10, '-'), 4, ""); }, true},
  };
}

Result<> conflicts_are_exact(Store& store) {
  std::vector<ConflictCase> cases = conflict_cases();
  std::ranges::move(own_write_cases(), std::back_inserter(cases));
  for (const ConflictCase& c : cases) {
    for (const bool interfere : {true, false}) {
      TRY(clear_prefix(store, "c/"));
      for (const std::string_view key : {"c/b", "c/f", "c/m"}) TRY(put(store, key, "0"));
      Transaction t = store.begin();
      TRY(in(c.name, c.reader(t)));
      t.set("other", "1");
      if (interfere) {
        Transaction writer = store.begin();
        c.writer(writer);
        TRY(in(c.name, writer.commit()));
      }
      const Result<> result = t.commit();
      if (!result && result.error().code != Code::kConflict) return result;
      const bool expected = interfere && c.conflicts;
      TRY(expect(result.has_value() != expected,
                 fmt::format("{}{}: {}", c.name, interfere ? "" : " (which does not happen)",
                             expected ? "must conflict" : "must not conflict")));
    }
  }
  Transaction reader = store.begin();
  TRY(reader.get("c/b"));
  TRY(put(store, "c/b", "1"));
  return in("a transaction that writes nothing", reader.commit());
}

// --- limits -------------------------------------------------------------------------------------

Result<> limits_hold(Store& store) {
  const std::string longest_key = "limit" + std::string(kKeyBytesMax - 5, 'k');
  const std::string longest_value(kValueBytesMax, 'v');
  TRY(put(store, longest_key, longest_value));
  TRY(expect(TRY(store.begin().get(longest_key)) == longest_value, "the longest key and value"));
  const auto broken = [&](auto&& how) {
    Transaction t = store.begin();
    t.set("limit", "must not be committed");
    how(t);
    return t.commit();
  };
  const auto invalid = Code::kInvalidArgument;
  TRY(expect_code(broken([&](T t) { t.set(longest_key + "k", ""); }), invalid, "a longer key"));
  TRY(expect_code(broken([&](T t) { t.set("k", longest_value + "v"); }), invalid, "longer value"));
  TRY(expect_code(broken([&](T t) { t.set("\xff", ""); }), invalid, "a reserved key"));
  TRY(expect_code(broken([&](T t) { t.clear_range("b", "a"); }), invalid, "a range backwards"));
  TRY(expect_code(broken([&](T t) { t.clear_range("b", "\xff\x01"); }), invalid,
                  "a range too far"));
  TRY(expect_code(broken([&](T t) { t.set_versionstamped_key("123456789", 0, ""); }), invalid,
                  "no room for a stamp"));
  TRY(expect_code(broken([&](T t) { t.set_versionstamped_value("k", "1234567890", 1); }), invalid,
                  "a stamp over the end"));
  const auto too_much = [&](T t) {
    for (size_t i = 0; i <= kTransactionBytesMax / kValueBytesMax; ++i) {
      t.set(fmt::format("limit/{}", i), longest_value);
    }
  };
  TRY(expect_code(broken(too_much), Code::kNoSpace, "a transaction that is too large"));
  TRY(expect(!TRY(store.begin().get("limit")), "nothing of a broken transaction is there"));
  Transaction t = store.begin();
  const auto rows = t.get_range("a", "b", {.rows_max = kRangeRowsMax + 1});
  TRY(expect(!rows && rows.error().code == invalid, "a range of too many rows is refused"));
  return clear_prefix(store, "limit");
}

// --- versionstamps ------------------------------------------------------------------------------

Result<> stamps_are_in_commit_order(Store& store) {
  TRY(clear_prefix(store, "stamp/"));
  Stamp last;
  for (int i = 0; i < 20; ++i) {
    Transaction t = store.begin();
    t.set_versionstamped_key("stamp/..........x", 6, std::to_string(i));
    t.set_versionstamped_value("stamp", "<..........>", 1);
    const auto early = t.get("stamp");
    TRY(expect(!early && early.error().code == Code::kInvalidArgument, "no stamp before commit"));
    TRY(t.commit());
    TRY(expect(t.committed() > last, "stamps ascend"));
    last = t.committed();
    const std::string value = TRY(store.begin().get("stamp")).value_or("");
    TRY(expect(value.size() == 12 && value.front() == '<' && value.back() == '>',
               "the rest stays"));
    TRY(expect(Stamp::from(value.substr(1, 10)) == last, "the stamp is the commit's"));
  }
  const Rows rows = TRY(store.begin().get_range("stamp/", "stamp0"));
  TRY(expect(rows.rows.size() == 20, "every stamped key is there"));
  for (int i = 0; i < 20; ++i) {
    TRY(expect(rows.rows[i].value == std::to_string(i), "keys are in the order of commits"));
  }
  return expect(Stamp::from(rows.rows[19].key.substr(6, 10)) == last, "the last key has the stamp");
}

// --- ranges against a model ---------------------------------------------------------------------

using Model = std::map<std::string, std::string>;

std::vector<Row> model_range(const Model& model, const KeyRange& range, bool reverse) {
  std::vector<Row> rows;
  const auto last = model.lower_bound(range.end);
  for (auto it = model.lower_bound(range.begin); it != last; ++it) {
    rows.push_back({it->first, it->second});
  }
  if (reverse) std::ranges::reverse(rows);
  return rows;
}

/// Pages through a random range, as users do.
Result<> check_pages(Transaction& t, const Model& model, Rng& rng) {
  KeyRange left{fmt::format("r/{:02}", rng.below(60)), fmt::format("r/{:02}", rng.below(60))};
  if (left.begin > left.end) std::swap(left.begin, left.end);
  const RangeOptions options{
      .rows_max = 1 + rng.below(7), .bytes_max = 1 + rng.below(60), .reverse = rng.below(2) == 0};
  const std::vector<Row> expected = model_range(model, left, options.reverse);
  std::vector<Row> got;
  for (bool more = true; more;) {
    const Rows page = TRY(t.get_range(left.begin, left.end, options));
    TRY(expect(page.rows.size() <= options.rows_max, "no page has more rows than asked for"));
    TRY(expect(!page.has_more || !page.rows.empty(), "has_more with no rows"));
    got.insert(got.end(), page.rows.begin(), page.rows.end());
    more = page.has_more;
    if (more && options.reverse) left.end = got.back().key;
    if (more && !options.reverse) left.begin = only(got.back().key).end;
  }
  return expect(got == expected, fmt::format("{} rows of a range, and {} were expected", got.size(),
                                             expected.size()));
}

/// Random writes and pages of one transaction after the other against a map.
Result<> ranges_agree_with_a_model(Store& store) {
  TRY(clear_prefix(store, "r/"));
  Rng rng(7);
  Model model;
  for (int round = 0; round < 60; ++round) {
    Transaction t = store.begin();
    for (int i = 0; i < 12; ++i) {
      const std::string key = fmt::format("r/{:02}", rng.below(60));
      const std::string end = fmt::format("r/{:02}", rng.below(60));
      const uint64_t what = rng.below(10);
      if (what < 5) {
        t.set(key, model[key] = std::string(rng.below(9), static_cast<char>('a' + round % 26)));
      } else if (what < 7) {
        t.clear(key);
        model.erase(key);
      } else if (what == 7 && key < end) {
        t.clear_range(key, end);
        model.erase(model.lower_bound(key), model.lower_bound(end));
      } else {
        TRY(check_pages(t, model, rng));
      }
    }
    TRY(t.commit());
    Transaction after = store.begin();
    TRY(check_pages(after, model, rng));
  }
  return {};
}

// --- many at once -------------------------------------------------------------------------------

/// Runs so many fibers to their end; the first error.
Result<> in_fibers(Store& store, int count, const std::function<Result<>(int)>& body) {
  int left = count;
  Result<> result;
  FiberEvent done;
  for (int i = 0; i < count; ++i) {
    store.executor().spawn("conformance", [&, i] {
      const Result<> one = body(i);
      if (!one && result) result = one;
      if (--left == 0) done.set();
    });
  }
  done.wait();
  return result;
}

/// Increments that know whether they happened, over a store that does not say.
Result<> idempotent_retries_count_once(Store& store) {
  constexpr int kClients = 8, kIncrements = 12;
  TRY(clear_prefix(store, "count/"));
  FaultyStore faulty(store,
                     {.conflict_rate = 0.1,
                      .busy_rate = 0.1,
                      .unknown_rate = 0.3,
                      .latency_ns_max = 50 * kMicrosecond},
                     Rng(11));
  TRY(in_fibers(store, kClients, [&](int client) -> Result<> {
    for (int i = 0; i < kIncrements; ++i) {
      const std::string request = fmt::format("count/{}.{}", client, i);
      const auto increment = [&](Transaction& t) -> Result<> {
        if (TRY(t.get(request))) return {};
        const auto count = TRY(t.get("count/"));
        t.set("count/", std::to_string(std::stoi(count.value_or("0")) + 1));
        t.set(request, "");
        return {};
      };
      TRY(run(faulty, Deadline::never(), increment, Again::kIdempotent));
    }
    return {};
  }));
  const std::string count = TRY(store.begin().get("count/")).value_or("");
  return expect(count == std::to_string(kClients * kIncrements),
                fmt::format("{} increments, and the counter is {}", kClients * kIncrements, count));
}

/// What may be retried only where it is idempotent is not, where it is not said to be.
Result<> unknown_outcomes_are_told(Store& store) {
  FaultyStore faulty(store, {.unknown_rate = 1}, Rng(5));
  int tries = 0;
  const auto body = [&](Transaction& t) -> Result<> {
    ++tries;
    t.set("unknown", "1");
    return {};
  };
  TRY(expect_code(run(faulty, Deadline::never(), body), Code::kTimeout, "an unknown outcome"));
  TRY(expect(tries == 1, "it is not tried again"));
  const Deadline soon = Deadline::after(store.executor().clock(), 100 * kMillisecond);
  TRY(expect_code(run(faulty, soon, body, Again::kIdempotent), Code::kTimeout, "to the deadline"));
  TRY(expect(tries > 2, "it is tried again"));
  faulty.faults = {.busy_rate = 1};
  const Deadline later = Deadline::after(store.executor().clock(), 100 * kMillisecond);
  return expect_code(run(faulty, later, body), Code::kUnavailable, "a store that stays busy");
}

Result<> histories_are_serializable(Store& store) {
  TRY(clear_prefix(store, "k/"));
  TRY(clear_prefix(store, "s/"));
  // Everything else is there before the first transaction of the history.
  TRY(run(store, Deadline::never(), [](Transaction& t) -> Result<> {
    t.clear_range("", kKeyEnd);
    return {};
  }));
  Workload workload([&] { return store.executor().now_ns(); });
  FaultyStore faulty(store, {.unknown_rate = 0.05, .latency_ns_max = 100 * kMicrosecond}, Rng(3));
  TRY(in_fibers(store, 10, [&](int client) -> Result<> {
    Rng rng(client);
    for (int i = 0; i < 60; ++i) {
      const auto result = workload.step(faulty, rng, fmt::format("client {}", client));
      if (!result && result.error().code != Code::kConflict && !maybe_committed(result.error())) {
        return result;
      }
    }
    return {};
  }));
  TRY(workload.finish(store));
  TRY(expect(workload.committed() > 100, "most transactions commit"));
  const auto anomaly = workload.history().anomaly();
  return expect(!anomaly, anomaly.value_or(""));
}

constexpr Rule kRules[] = {
    {"values_come_back", values_come_back},
    {"transactions_are_isolated", transactions_are_isolated},
    {"read_versions_are_kept", read_versions_are_kept},
    {"conflicts_are_exact", conflicts_are_exact},
    {"limits_hold", limits_hold},
    {"stamps_are_in_commit_order", stamps_are_in_commit_order},
    {"ranges_agree_with_a_model", ranges_agree_with_a_model},
    {"idempotent_retries_count_once", idempotent_retries_count_once},
    {"unknown_outcomes_are_told", unknown_outcomes_are_told},
    {"histories_are_serializable", histories_are_serializable},
    {"old_versions_are_refused", old_versions_are_refused, true},
};

}  // namespace

std::span<const Rule> rules() {
  return kRules;
}

}  // namespace hadal::kv
